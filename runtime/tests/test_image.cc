#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "image.h"

namespace bmx {
namespace {

const bmx_preprocess kImagenet = {8, 8, 0.875, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};

std::vector<uint8_t> random_image(int64_t height, int64_t width) {
  std::minstd_rand random(static_cast<unsigned>(height * 1000 + width));
  std::vector<uint8_t> image(static_cast<size_t>(height * width * 3));
  for (uint8_t& value : image) value = static_cast<uint8_t>(random() >> 8);
  return image;
}

std::vector<float> prepare(const std::vector<uint8_t>& image, int64_t height, int64_t width,
                           const bmx_preprocess& preprocess) {
  std::vector<float> input(static_cast<size_t>(3 * preprocess.height * preprocess.width), -1e9f);
  prepare_image(image.data(), height, width, preprocess, input.data());
  return input;
}

// Pixel `at` of `resized`, into which the part of a line from `begin` to `end` is resized, by the formula alone: every
// pixel of the line, weighted by its distance.
uint8_t resize(const std::vector<uint8_t>& line, float begin, float end, int64_t resized, int64_t at) {
  const double scale = static_cast<double>(end - begin) / static_cast<double>(resized);
  const double centre = begin + (static_cast<double>(at) + 0.5) * scale;
  std::vector<double> weights;
  double sum = 0;
  for (size_t x = 0; x < line.size(); ++x) {
    const double distance = std::fabs((static_cast<double>(x) - centre + 0.5) * (1 / std::max(scale, 1.0)));
    weights.push_back(std::max(0.0, 1 - distance));
    sum += weights.back();
  }
  int64_t total = 1 << 21;
  for (size_t x = 0; x < line.size(); ++x) {
    total += line[x] * static_cast<int64_t>(std::floor(weights[x] / sum * (1 << 22) + 0.5));
  }
  return static_cast<uint8_t>(std::min(int64_t{255}, total >> 22));
}

struct Side {
  float begin, end;
  int64_t resized, first;
};

// What prepare_image has to give where the sides are resized in this way: first all rows, then the columns of that.
std::vector<float> expected(const std::vector<uint8_t>& image, int64_t height, int64_t width, const Side& down,
                            const Side& across, const bmx_preprocess& preprocess) {
  std::vector<float> input;
  for (int64_t channel = 0; channel < 3; ++channel) {
    std::vector<std::vector<uint8_t>> columns(static_cast<size_t>(preprocess.width));
    for (int64_t y = 0; y < height; ++y) {
      std::vector<uint8_t> row;
      for (int64_t x = 0; x < width; ++x) row.push_back(image[(y * width + x) * 3 + channel]);
      for (int64_t x = 0; x < preprocess.width; ++x) {
        columns[x].push_back(resize(row, across.begin, across.end, across.resized, across.first + x));
      }
    }
    for (int64_t y = 0; y < preprocess.height; ++y) {
      for (int64_t x = 0; x < preprocess.width; ++x) {
        const float level = resize(columns[x], down.begin, down.end, down.resized, down.first + y);
        input.push_back((level / 255.0f - preprocess.mean[channel]) / preprocess.std[channel]);
      }
    }
  }
  return input;
}

// `resized`: height and width, by hand.
void check_resizing(int64_t height, int64_t width, bmx_preprocess preprocess, int64_t resized_height,
                    int64_t resized_width) {
  const std::vector<uint8_t> image = random_image(height, width);
  const Side down = {0, static_cast<float>(height), resized_height, (resized_height - preprocess.height) / 2};
  const Side across = {0, static_cast<float>(width), resized_width, (resized_width - preprocess.width) / 2};
  CHECK(prepare(image, height, width, preprocess) == expected(image, height, width, down, across, preprocess));
}

bmx_preprocess of_size(int64_t height, int64_t width, double crop_ratio) {
  bmx_preprocess preprocess = kImagenet;
  preprocess.height = height;
  preprocess.width = width;
  preprocess.crop_ratio = crop_ratio;
  return preprocess;
}

TEST(image_is_resized_and_cropped) {
  check_resizing(20, 30, of_size(8, 8, 0.875), 10, 15);  // 8 / 0.875 is 9.1, of which 10 is made
  check_resizing(30, 20, of_size(8, 8, 0.875), 15, 10);
  check_resizing(5, 3, of_size(8, 8, 0.875), 17, 10);  // 5 * 10/3 is 16.7
  check_resizing(50, 40, of_size(4, 12, 1.0), 15, 12);
  check_resizing(7, 90, of_size(9, 2, 0.6), 15, 193);
  check_resizing(61, 13, of_size(2, 2, 0.05), 188, 40);
  check_resizing(1, 1, of_size(3, 5, 1.0), 5, 5);
}

TEST(image_sizes_are_rounded_to_even_halves) {
  check_resizing(4, 5, of_size(2, 2, 1.0), 2, 2);  // 2.5
  check_resizing(4, 7, of_size(2, 2, 1.0), 2, 4);  // 3.5
}

TEST(image_values_are_normalised) {
  const std::vector<uint8_t> image = {0, 1, 255, 254, 128, 127};
  const bmx_preprocess preprocess = {1, 2, 1.0, {0.5f, 0.25f, 0}, {0.5f, 2, 0.125f}};
  const std::vector<float> input = prepare(image, 1, 2, preprocess);
  const float values[] = {-1, (254 / 255.0f - 0.5f) / 0.5f, (1 / 255.0f - 0.25f) / 2, (128 / 255.0f - 0.25f) / 2,
                          8,  127 / 255.0f / 0.125f};
  CHECK(std::equal(input.begin(), input.end(), values));
}

// Resized whole it would be too large; its centre is a box of float32.
TEST(image_that_is_much_longer_than_wide) {
  const int64_t width = 300001, height = 2;
  const std::vector<uint8_t> image = random_image(height, width);
  const int64_t resized = 8 * width, left = (resized - 16) / 2;
  const auto at = [&](int64_t x) {
    return static_cast<float>(static_cast<double>(x * width) / static_cast<double>(resized));
  };
  CHECK(prepare(image, height, width, of_size(16, 16, 1.0)) ==
        expected(image, height, width, {0, 2, 16, 0}, {at(left), at(left + 16), 16, 0}, of_size(16, 16, 1.0)));
}

TEST(image_that_is_very_long) {
  const int64_t length = 1 << 24;
  const std::vector<uint8_t> image(static_cast<size_t>(3 * length), 255);
  const bmx_preprocess preprocess = {4, 3, 0.01, {0, 0, 0}, {1, 1, 1}};
  CHECK(prepare(image, length, 1, preprocess) == std::vector<float>(36, 1));
  CHECK(prepare(image, 1, length, preprocess) == std::vector<float>(36, 1));
}

TEST(image_sizes_that_cannot_be) {
  float value;
  const uint8_t pixel[3] = {};
  for (const auto& size : std::vector<std::pair<int64_t, int64_t>>{
           {0, 1}, {1, 0}, {-1, -1}, {1, kMaxPixels + 1}, {INT64_MAX, INT64_MAX}, {INT64_MAX, 2}}) {
    CHECK_ERROR(prepare_image(pixel, size.first, size.second, of_size(1, 1, 1.0), &value),
                "from 1 to 134217728 pixels");
  }
}

}  // namespace
}  // namespace bmx
