/* The best class of a grey image. Usage: classify PREFIX, of the files of a deployed model. */
#include <bmx.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char* text) {
  fprintf(stderr, "%s\n", text);
  return 1;
}

int main(int argc, char** argv) {
  enum { HEIGHT = 48, WIDTH = 64 };
  static uint8_t image[HEIGHT * WIDTH * 3];
  memset(image, 128, sizeof image);

  bmx_error error;
  bmx_model* model = NULL;
  bmx_session* session = NULL;
  bmx_preprocess size;
  bmx_shape shape, scores_shape;
  if (argc != 2) {
    fprintf(stderr, "usage: classify PREFIX\n");
    return 2;
  }
  if (bmx_model_load(BMX_API_VERSION, argv[1], &model, &error) || bmx_model_preprocess(model, &size, &error) ||
      bmx_session_create(model, 0, NULL, &session, &error)) {
    return fail(error.text);
  }
  shape = bmx_model_input_shape(model);
  if (bmx_model_output_shape(model, &shape, 0, &scores_shape, &error)) return fail(error.text);

  const int64_t classes = scores_shape.sizes[1];
  float* input = malloc((size_t)(3 * size.height * size.width) * sizeof *input);
  float* scores = malloc((size_t)classes * sizeof *scores);
  if (!input || !scores) return fail("out of memory");
  if (bmx_model_prepare(model, image, HEIGHT, WIDTH, input, &error) ||
      bmx_session_run(session, input, &shape, &scores, &error)) {
    return fail(error.text);
  }
  int64_t best = 0;
  for (int64_t index = 1; index < classes; ++index) {
    if (scores[index] > scores[best]) best = index;
  }
  const char* name = bmx_model_class(model, best);
  printf("%s: class %ld (%s), score %g\n", bmx_model_name(model), (long)best, name ? name : "no name", scores[best]);

  free(scores);
  free(input);
  bmx_session_free(session);
  bmx_model_free(model);
  return 0;
}
