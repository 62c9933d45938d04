// The models of the tests' files have the scores that they have in MXNet, of every kernel, batch and number of threads.
#include <fstream>
#include <sstream>

#include "check.h"
#include "kernels.h"
#include "scores.h"

namespace {

using bmx::test::data_folder;

// In scores.txt a line for each model: its name and the digests of three images.
TEST(scores_are_those_of_mxnet) {
  std::ifstream file(data_folder() + "/scores.txt");
  std::string line, name;
  int models = 0;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string expected[3];
    words >> name >> expected[0] >> expected[1] >> expected[2];
    const bmx::Model model(data_folder() + "/" + name);
    for (const bmx::Kernel& kernel : bmx::kernels()) {
      if (!kernel.supported()) continue;
      for (int threads : {1, 2, 3}) {
        bmx::Session session(model, threads, kernel.name);
        for (int images : {3, 1}) {
          const std::vector<std::string> found = bmx::test::digests(&session, model.input_shape(), images);
          for (int image = 0; image < images; ++image) {
            bmx::test::check(found[image] == expected[image], __FILE__, __LINE__,
                             name + ", " + kernel.name + ", threads " + std::to_string(threads) + ", image " +
                                 std::to_string(image) + " of " + std::to_string(images) + ": " + found[image]);
          }
        }
      }
    }
    ++models;
  }
  CHECK(models > 0);
}

}  // namespace
