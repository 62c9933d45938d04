// The best class of an image. Usage: classify PREFIX IMAGE, of the files of a deployed model and a binary PPM.
#include <algorithm>
#include <bmx.hpp>
#include <fstream>
#include <iostream>

struct Image {
  std::int64_t height, width;
  std::vector<std::uint8_t> pixels;
};

// Of a header without comments.
Image read_ppm(const std::string& path) {
  constexpr std::int64_t kMaxPixels = 1 << 27;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  std::string magic;
  std::int64_t width = 0, height = 0, greatest = 0;
  file >> magic >> width >> height >> greatest;
  file.get();
  if (!file || magic != "P6" || greatest != 255 || width < 1 || height < 1) {
    throw std::runtime_error(path + " is no binary PPM of 8 bits without comments");
  }
  if (width > kMaxPixels / height) throw std::runtime_error(path + " has too many pixels");
  Image image = {height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3))};
  if (!file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()))) {
    throw std::runtime_error(path + " is truncated");
  }
  return image;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: classify PREFIX IMAGE\n";
    return 2;
  }
  try {
    const Image image = read_ppm(argv[2]);
    const bmx::Model model(argv[1]);
    bmx::Session session(model);
    const std::vector<float> input = model.prepare(image.pixels, image.height, image.width);
    const std::vector<float> scores = session.run(input, model.input_shape())[0];
    const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    const std::vector<std::string> classes = model.classes();
    std::cout << model.name() << ": class " << best << " (" << (classes.empty() ? "no name" : classes[best])
              << "), score " << scores[best] << "\n";
  } catch (const std::exception& error) {  // a bmx::Exception is one
    std::cerr << error.what() << "\n";
    return 1;
  }
}
