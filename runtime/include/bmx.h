/* bmx.h: deployed binary networks without MXNet.
 *
 * A deployed model is the pair of files PREFIX-symbol.json and PREFIX-0000.params that `bmx export` writes. Load it,
 * make a session, run images:
 *
 *     bmx_error error;
 *     bmx_model* model;
 *     bmx_session* session;
 *     if (bmx_model_load(BMX_API_VERSION, "deployed/meliusnet22", &model, &error) ||
 *         bmx_session_create(model, 0, NULL, &session, &error)) {
 *       fprintf(stderr, "%s\n", error.text);
 *       return 1;
 *     }
 *
 * Every function that can fail returns a bmx_status, BMX_OK or what went wrong, and then fills in `error`, which may be
 * NULL. Results that are pointers are NULL after a failure. Nothing is printed, no exception leaves the library, no
 * process is ended, and no state is shared but that of the handles.
 *
 * A model does not change: any number of threads may use one at once, each with a session of its own. A session is for
 * one thread at a time; what uses it meanwhile gets BMX_BUSY.
 */
#ifndef BMX_H_
#define BMX_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(BMX_BUILDS_LIBRARY) && defined(__GNUC__)
#define BMX_API __attribute__((visibility("default")))
#else
#define BMX_API
#endif

/* The interface that this header describes. A library refuses to load models for a program that was compiled for
 * another one. */
#define BMX_API_VERSION 1

typedef enum bmx_status {
  BMX_OK = 0,
  BMX_INVALID = 1,       /* an argument that cannot be: a NULL, a shape that the model does not take, ... */
  BMX_NOT_FOUND = 2,     /* a file is missing or cannot be read */
  BMX_BAD_MODEL = 3,     /* damaged, foreign, of a newer format, or with operators that only MXNet has */
  BMX_OUT_OF_MEMORY = 4, /* memory or threads are used up */
  BMX_BUSY = 5           /* the session is running in another thread */
} bmx_status;

/* One sentence, in UTF-8, that says what was wrong. */
typedef struct bmx_error {
  char text[1024];
} bmx_error;

typedef struct bmx_model bmx_model;
typedef struct bmx_session bmx_session;

/* How an image becomes an input: it is resized so that the central crop of `height` x `width` is `crop_ratio` of its
 * shorter side; a channel's value x of 0 to 255 becomes (x / 255 - mean) / std. Channels are red, green, blue. */
typedef struct bmx_preprocess {
  int64_t height, width;
  double crop_ratio;
  float mean[3], std[3];
} bmx_preprocess;

/* Sizes of an array of `dims` dimensions, images first. */
#define BMX_MAX_DIMS 4
typedef struct bmx_shape {
  int32_t dims;
  int64_t sizes[BMX_MAX_DIMS];
} bmx_shape;

/* The version of the library, "0.5.0" for instance, and the youngest format of model files that it reads. */
BMX_API const char* bmx_version(void);
BMX_API int bmx_format_version(void);

/* Models. `api_version` is BMX_API_VERSION. */

/* Loads PREFIX-symbol.json and PREFIX-0000.params. */
BMX_API bmx_status bmx_model_load(int api_version, const char* prefix, bmx_model** model, bmx_error* error);
/* The same of the contents of these files, which are not needed afterwards. */
BMX_API bmx_status bmx_model_load_memory(int api_version, const void* symbol, size_t symbol_size, const void* params,
                                         size_t params_size, bmx_model** model, bmx_error* error);
/* Sessions of the model stay valid. NULL is allowed. */
BMX_API void bmx_model_free(bmx_model* model);

/* Texts and names are in UTF-8 and live as long as the model. */

/* Name of the network, for example "meliusnet22". */
BMX_API const char* bmx_model_name(const bmx_model* model);
/* How many names of classes it has, 0 where it has none; the name of one, NULL where there is none. */
BMX_API int64_t bmx_model_num_classes(const bmx_model* model);
BMX_API const char* bmx_model_class(const bmx_model* model, int64_t index);
/* BMX_INVALID where the model does not say how an image becomes its input. */
BMX_API bmx_status bmx_model_preprocess(const bmx_model* model, bmx_preprocess* preprocess, bmx_error* error);
/* The shape of a batch of one image, for example (1, 3, 224, 224), that the model was exported for. */
BMX_API bmx_shape bmx_model_input_shape(const bmx_model* model);
BMX_API int64_t bmx_model_num_outputs(const bmx_model* model);
/* The shape of an output for an input of this shape. Throughout, height and width may be others than those that the
 * model was exported for where its layers allow that. */
BMX_API bmx_status bmx_model_output_shape(const bmx_model* model, const bmx_shape* input, int64_t index,
                                          bmx_shape* output, bmx_error* error);

/* An image, 8 bits a channel, red, green, blue, rows from the top, `height * width * 3` bytes, as one input: `input`
 * receives 3 * preprocess.height * preprocess.width values, where `preprocess` is what bmx_model_preprocess says. */
BMX_API bmx_status bmx_model_prepare(const bmx_model* model, const uint8_t* image, int64_t height, int64_t width,
                                     float* input, bmx_error* error);

/* Sessions: the threads and the memory to run a model. */

/* `threads`: how many compute, the calling one among them; 0: one for each core that the process may use. `kernel`: the
 * code of an instruction set, for example "avx2"; NULL: the one that the variable BMX_ISA of the environment names, or
 * else the fastest that this CPU supports. All give the same bits. */
BMX_API bmx_status bmx_session_create(const bmx_model* model, int threads, const char* kernel, bmx_session** session,
                                      bmx_error* error);
/* NULL is allowed. Not while it runs. */
BMX_API void bmx_session_free(bmx_session* session);
BMX_API int bmx_session_threads(const bmx_session* session);
BMX_API const char* bmx_session_kernel(const bmx_session* session);

/* Runs a batch. `input`: float32, contiguous, (images, channels, height, width). `outputs`: for each output of the
 * model an array that receives what bmx_model_output_shape says. NaN in the input is not looked for. */
BMX_API bmx_status bmx_session_run(bmx_session* session, const float* input, const bmx_shape* shape,
                                   float* const* outputs, bmx_error* error);

#ifdef __cplusplus
}
#endif

#endif /* BMX_H_ */
