// The best class of an image. Usage: classify PREFIX IMAGE, of the files of a deployed model and a binary PPM.
#include <algorithm>
#include <bmx.hpp>
#include <fstream>
#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::ifstream file(argv[2], std::ios::binary);
  std::string magic;
  int width = 0, height = 0, largest = 0;
  file >> magic >> width >> height >> largest;
  file.get();
  if (!file || magic != "P6" || largest != 255 || width < 1 || height < 1) {
    std::cerr << argv[2] << " is no binary PPM of 8 bits\n";
    return 1;
  }
  std::vector<std::uint8_t> image(std::size_t(width) * height * 3);
  file.read(reinterpret_cast<char*>(image.data()), std::streamsize(image.size()));

  try {
    const bmx::Model model(argv[1]);
    bmx::Session session(model);
    const std::vector<float> scores = session.run(model.prepare(image, height, width), model.input_shape())[0];
    const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    const std::vector<std::string> classes = model.classes();
    std::cout << model.name() << ": class " << best << " (" << (classes.empty() ? "no name" : classes[best])
              << "), score " << scores[best] << "\n";
  } catch (const bmx::Exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
