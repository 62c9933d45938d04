#include "convolution.h"

#include <omp.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels.h"
#include "packing.h"

namespace bmx {
namespace {

constexpr int64_t kMaxChunk = 128;       // output pixels a thread takes at once: their activations stay in L1
constexpr int64_t kSerialWords = 20000;  // below this many word operations starting threads costs more than it saves

// A bit string of `channels` ones, word w of it.
uint64_t ones_word(int64_t channels, int64_t w) {
  const int64_t left = channels - w * kWordBits;
  return left >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
}

// One group of one image, binarized, channels last, with its padding (as -1 where pad_value is 0).
void pack_image(const Convolution& conv, const float* data, const float* threshold, const float* direction,
                uint64_t* words) {
  const int64_t channels = conv.group_channels(), depth = words_for(channels);
  const Size padded = conv.padded();
  for (int64_t y = 0; y < padded.height; ++y) {
    uint64_t* row = words + y * padded.width * depth;
    const int64_t from = y - conv.pad.height;
    const bool inside = from >= 0 && from < conv.image.height;
    for (int64_t x = 0; x < padded.width; ++x) {
      if (inside && x == conv.pad.width) x += conv.image.width;
      if (x == padded.width) break;
      for (int64_t w = 0; w < depth; ++w) row[x * depth + w] = conv.pad_value == 1 ? ones_word(channels, w) : 0;
    }
    if (!inside) continue;
    pack_pixels(data + from * conv.image.width * conv.pixel_stride, conv.channel_stride, conv.pixel_stride, channels,
                conv.image.width, threshold, direction, row + conv.pad.width * depth);
  }
}

// Sum of the weights of every tap and filter, (taps, filters): what a padded tap, counted as -1, has to be given back.
std::vector<int64_t> sum_taps(const Convolution& conv, const uint8_t* weight) {
  const int64_t taps = conv.kernel.height * conv.kernel.width, bytes = (conv.group_channels() + 7) / 8;
  std::vector<int64_t> sums(taps * conv.filters);
  for (int64_t o = 0; o < conv.filters; ++o) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t ones = 0;
      for (int64_t b = 0; b < bytes; ++b) ones += __builtin_popcount(weight[(o * taps + tap) * bytes + b]);
      sums[tap * conv.filters + o] = 2 * ones - conv.group_channels();
    }
  }
  return sums;
}

// Takes the padded taps of output pixel `p` out of the filters' results at `out`.
void discount_padding(const Convolution& conv, const int64_t* sums, int64_t p, int64_t filters, float* out) {
  const int64_t top = p / conv.out().width * conv.stride.height - conv.pad.height;
  const int64_t left = p % conv.out().width * conv.stride.width - conv.pad.width;
  for (int64_t tap = 0; tap < conv.kernel.height * conv.kernel.width; ++tap, sums += conv.filters) {
    const int64_t y = top + tap / conv.kernel.width * conv.dilate.height;
    const int64_t x = left + tap % conv.kernel.width * conv.dilate.width;
    if (y >= 0 && y < conv.image.height && x >= 0 && x < conv.image.width) continue;
    for (int64_t o = 0; o < filters; ++o) out[o * conv.out_filter_stride] += static_cast<float>(sums[o]);
  }
}

}  // namespace

void convolve(const Convolution& conv, const float* data, const uint8_t* weight, const float* threshold, float* out) {
  const Kernel& kernel = current_kernel();
  const int64_t channels = conv.group_channels(), filters = conv.group_filters();
  const int64_t words = words_for(channels), taps = conv.kernel.height * conv.kernel.width, depth = taps * words;
  const Size padded = conv.padded(), size = conv.out();
  const int64_t pixels = size.height * size.width;
  const int64_t image_words = padded.height * padded.width * words;
  const int64_t weight_words = (filters + kernel.block - 1) / kernel.block * kernel.block * depth;
  const int64_t planes = conv.images * conv.groups;

  std::vector<int64_t> tap_words(depth), origins(pixels);
  for (int64_t k = 0; k < depth; ++k) {
    const int64_t tap = k / words, y = tap / conv.kernel.width, x = tap % conv.kernel.width;
    tap_words[k] = (y * conv.dilate.height * padded.width + x * conv.dilate.width) * words + k % words;
  }
  for (int64_t p = 0; p < pixels; ++p) {
    origins[p] = (p / size.width * conv.stride.height * padded.width + p % size.width * conv.stride.width) * words;
  }
  const bool discount = conv.pad_value == 0 && (conv.pad.height || conv.pad.width);
  const std::vector<int64_t> sums = discount ? sum_taps(conv, weight) : std::vector<int64_t>();

  // uninitialised on purpose: every word is written below
  std::unique_ptr<uint64_t[]> activations(new uint64_t[planes * image_words]);
  std::unique_ptr<uint64_t[]> weights(new uint64_t[conv.groups * weight_words]);

  const bool parallel = planes * pixels * filters * depth > kSerialWords;
  const int64_t share = (planes * pixels + omp_get_max_threads() - 1) / omp_get_max_threads();
  const int64_t chunk = std::min(std::min(kMaxChunk, share), pixels);
  const int64_t chunks = (pixels + chunk - 1) / chunk;
#pragma omp parallel if (parallel)
  {
#pragma omp for schedule(static) nowait
    for (int64_t g = 0; g < conv.groups; ++g) {
      pack_weights(weight + g * filters * taps * ((channels + 7) / 8), filters, taps, channels, kernel.block,
                   weights.get() + g * weight_words);
    }
#pragma omp for schedule(static)
    for (int64_t plane = 0; plane < planes; ++plane) {
      const int64_t first = plane % conv.groups * channels;
      const float* image = data + (plane / conv.groups) * conv.channels * conv.image.height * conv.image.width;
      pack_image(conv, image + first * conv.channel_stride, threshold ? threshold + first : nullptr,
                 threshold ? threshold + conv.channels + first : nullptr, activations.get() + plane * image_words);
    }
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < planes * chunks; ++task) {
      const int64_t plane = task / chunks, group = plane % conv.groups, begin = task % chunks * chunk;
      Product product;
      product.activations = activations.get() + plane * image_words;
      product.origins = origins.data() + begin;
      product.taps = tap_words.data();
      product.weights = weights.get() + group * weight_words;
      product.depth = depth;
      product.bits = channels * taps;
      product.filters = filters;
      product.pixels = std::min(chunk, pixels - begin);
      product.out = out + plane * filters * pixels + begin * conv.out_pixel_stride;
      product.filter_stride = conv.out_filter_stride;
      product.pixel_stride = conv.out_pixel_stride;
      kernel.run(product);
      if (!discount) continue;
      for (int64_t p = 0; p < product.pixels; ++p) {
        discount_padding(conv, sums.data() + group * filters, begin + p, filters,
                         product.out + p * conv.out_pixel_stride);
      }
    }
  }
}

}  // namespace bmx
