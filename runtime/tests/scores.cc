// Prints the digests of the scores of the images that scores.h defines, one line each; of each kernel that this CPU
// supports, alone and in batches, with one thread and several, they have to be the same.
//   bmx_scores PREFIX [IMAGES]
#include "scores.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "kernels.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bmx_scores PREFIX [IMAGES]\n");
    return 2;
  }
  const int images = argc > 2 ? std::atoi(argv[2]) : 3;
  try {
    const bmx::Model model(argv[1]);
    std::vector<std::string> first;
    int wrong = 0;
    for (const bmx::Kernel& kernel : bmx::kernels()) {
      if (!kernel.supported()) continue;
      for (int threads : {1, 2}) {
        bmx::Session session(model, threads, kernel.name);
        for (int batch : {images, 1}) {
          const std::vector<std::string> found = bmx::test::digests(&session, model.input_shape(), batch);
          if (first.empty()) first = found;
          const bool same = std::equal(found.begin(), found.end(), first.begin());
          wrong += !same;
          std::fprintf(stderr, "%s, threads %d, batch %d: %s\n", kernel.name, threads, batch, same ? "same" : "WRONG");
        }
      }
    }
    for (const std::string& digest : first) std::printf("%s\n", digest.c_str());
    return wrong ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bmx_scores: %s\n", error.what());
    return 1;
  }
}
