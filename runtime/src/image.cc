#include "image.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "error.h"

namespace bmx {
namespace {

constexpr int64_t kChannels = 3;
// Pixels of the largest image that is resized whole by those whose values these are to be; of larger ones they resize a
// box, which is float32.
constexpr int64_t kMaxResizedPixels = int64_t{1} << 25;

// Weights are integers, parts of 2^22: a sum of 255 times all of them fits in 32 bits.
constexpr int kWeightBits = 22;
constexpr int32_t kHalf = int32_t{1} << (kWeightBits - 1);

uint8_t to_level(int32_t sum) { return static_cast<uint8_t>(std::min(sum >> kWeightBits, 255)); }

// One axis of a resizing: the pixels from `begin` to `end` of `whole` become `resized`, of which `size` from `first` on
// are wanted.
struct Axis {
  int64_t whole;
  float begin, end;
  int64_t resized, first, size;
};

// Of each wanted pixel: where its window begins, and the weights in it, `most` a pixel, zeros at the end.
struct Windows {
  int64_t most;
  std::vector<int64_t> begin, length;
  std::vector<int32_t> weights;
};

// A triangle as wide as two pixels of the source or, where the image shrinks, as two of the result, at whose centre it
// stands. Weights are normalised in float64 before they are rounded.
Windows windows(const Axis& axis) {
  const double scale = static_cast<double>(axis.end - axis.begin) / static_cast<double>(axis.resized);
  const double radius = std::max(scale, 1.0);
  const double inverse = 1.0 / radius;
  Windows all;
  all.most = static_cast<int64_t>(std::ceil(radius)) * 2 + 1;
  all.weights.assign(static_cast<size_t>(axis.size * all.most), 0);
  std::vector<double> exact(static_cast<size_t>(all.most));
  for (int64_t index = 0; index < axis.size; ++index) {
    const double centre = axis.begin + (static_cast<double>(axis.first + index) + 0.5) * scale;
    const int64_t begin = std::max(static_cast<int64_t>(centre - radius + 0.5), int64_t{0});
    const int64_t length = std::min(static_cast<int64_t>(centre + radius + 0.5), axis.whole) - begin;
    double sum = 0;
    for (int64_t tap = 0; tap < length; ++tap) {
      const double distance = std::fabs((static_cast<double>(begin + tap) - centre + 0.5) * inverse);
      exact[tap] = std::max(1.0 - distance, 0.0);
      sum += exact[tap];
    }
    for (int64_t tap = 0; tap < length; ++tap) {
      const double weight = sum != 0 ? exact[tap] / sum : exact[tap];
      all.weights[index * all.most + tap] = static_cast<int32_t>(0.5 + weight * (1 << kWeightBits));
    }
    all.begin.push_back(begin);
    all.length.push_back(length);
  }
  return all;
}

// a * b / c, correctly rounded to float64 although the product may need 80 bits. 0 <= a <= c < 2^53, 0 <= b < 2^31.
double product_over(int64_t a, int64_t b, int64_t c) {
  uint64_t quotient = 0, rest = 0;
  const auto next_bit = [&](bool factor_bit) {
    rest = 2 * rest + (factor_bit ? static_cast<uint64_t>(a) : 0);
    quotient = 2 * quotient + rest / static_cast<uint64_t>(c);
    rest %= static_cast<uint64_t>(c);
  };
  for (int bit = 30; bit >= 0; --bit) next_bit(b >> bit & 1);
  int fraction = 0;
  for (; quotient >> 54 == 0 && fraction < 128; ++fraction) next_bit(false);
  return std::ldexp(static_cast<double>(quotient | (rest != 0)), -fraction);  // odd, where it is inexact
}

// How the sides of the image are resized and cropped.
void choose_axes(int64_t height, int64_t width, const bmx_preprocess& preprocess, Axis* down, Axis* across) {
  const double scale = std::max(std::ceil(static_cast<double>(preprocess.height) / preprocess.crop_ratio) / height,
                                std::ceil(static_cast<double>(preprocess.width) / preprocess.crop_ratio) / width);
  const auto choose = [scale](int64_t whole, int64_t size) {
    // halves to even, as Python rounds
    const int64_t resized = std::max(size, static_cast<int64_t>(std::nearbyint(static_cast<double>(whole) * scale)));
    return Axis{whole, 0, static_cast<float>(whole), resized, (resized - size) / 2, size};
  };
  *down = choose(height, preprocess.height);
  *across = choose(width, preprocess.width);
  if (across->resized <= kMaxResizedPixels / down->resized) return;
  for (Axis* axis : {down, across}) {
    const auto side = [axis](int64_t at) { return static_cast<float>(product_over(at, axis->whole, axis->resized)); };
    axis->begin = side(axis->first);
    axis->end = side(axis->first + axis->size);
    axis->resized = axis->size;
    axis->first = 0;
  }
}

// A row of the image, resized: (windows, channels).
void resize_row(const uint8_t* row, const Windows& windows, uint8_t* resized) {
  const int32_t* weights = windows.weights.data();
  for (size_t index = 0; index < windows.begin.size(); ++index, weights += windows.most) {
    const uint8_t* pixel = row + windows.begin[index] * kChannels;
    int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (int64_t tap = 0; tap < windows.length[index]; ++tap, pixel += kChannels) {
      red += weights[tap] * pixel[0];
      green += weights[tap] * pixel[1];
      blue += weights[tap] * pixel[2];
    }
    *resized++ = to_level(red);
    *resized++ = to_level(green);
    *resized++ = to_level(blue);
  }
}

}  // namespace

void prepare_image(const uint8_t* image, int64_t height, int64_t width, const bmx_preprocess& preprocess,
                   float* input) {
  if (height < 1 || width < 1 || width > kMaxPixels / height) {
    fail("an image must have from 1 to ", kMaxPixels, " pixels, got ", width, "x", height);
  }
  Axis down, across;
  choose_axes(height, width, preprocess, &down, &across);
  const Windows rows = windows(down), columns = windows(across);

  float values[kChannels][256];
  for (int64_t channel = 0; channel < kChannels; ++channel) {
    for (int level = 0; level < 256; ++level) {
      values[channel][level] =
          (static_cast<float>(level) / 255.0f - preprocess.mean[channel]) / preprocess.std[channel];
    }
  }

  // The rows of one window, resized, in turn; windows only move down.
  const int64_t row_size = preprocess.width * kChannels;
  std::vector<uint8_t> resized(static_cast<size_t>(rows.most * row_size));
  std::vector<int32_t> sums(static_cast<size_t>(row_size));
  int64_t next = rows.begin[0];
  for (int64_t y = 0; y < preprocess.height; ++y) {
    const int64_t begin = rows.begin[y], end = begin + rows.length[y];
    for (next = std::max(next, begin); next < end; ++next) {
      resize_row(image + next * width * kChannels, columns, resized.data() + next % rows.most * row_size);
    }
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int64_t row = begin; row < end; ++row) {
      const int32_t weight = rows.weights[y * rows.most + row - begin];
      const uint8_t* levels = resized.data() + row % rows.most * row_size;
      for (int64_t i = 0; i < row_size; ++i) sums[i] += weight * levels[i];
    }
    for (int64_t channel = 0; channel < kChannels; ++channel) {
      float* out = input + (channel * preprocess.height + y) * preprocess.width;
      for (int64_t x = 0; x < preprocess.width; ++x) {
        out[x] = values[channel][to_level(sums[x * kChannels + channel])];
      }
    }
  }
}

}  // namespace bmx
