#include "convolution.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "packing.h"

namespace bmx {
namespace {

constexpr int64_t kMaxChunk = 128;       // output pixels a thread takes at once: their activations stay in L1
constexpr int64_t kSerialWords = 20000;  // below this many word operations starting threads costs more than it saves

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

// Thresholds and flips of every channel, as kernels take them.
struct Thresholds {
  std::vector<float> threshold;
  std::vector<uint32_t> flip;
  int64_t halves;  // of one group

  Thresholds(const Convolution& conv, const float* given) : threshold(conv.channels) {
    halves = (conv.group_channels() + 31) / 32;
    flip.resize(conv.groups * halves);
    for (int64_t c = 0; given && c < conv.channels; ++c) {
      threshold[c] = given[c];
      if (!(given[conv.channels + c] < 0)) continue;
      const int64_t bit = c % conv.group_channels();
      flip[c / conv.group_channels() * halves + bit / 32] |= uint32_t{1} << bit % 32;
      // x <= t is not (x >= the next number); where there is none, not (x >= NaN)
      threshold[c] = std::nextafter(given[c], INFINITY);
      if (threshold[c] == given[c]) threshold[c] = NAN;
    }
  }
};

}  // namespace

void convolve(const Convolution& conv, const float* data, const uint8_t* weight, const float* threshold, float* out) {
  const Kernel& kernel = current_kernel();
  const int64_t channels = conv.group_channels(), filters = conv.group_filters();
  const int64_t words = words_for(channels), taps = conv.kernel.height * conv.kernel.width, depth = taps * words;
  const Size padded = conv.padded(), size = conv.out();
  const int64_t in_pixels = conv.image.height * conv.image.width, out_pixels = size.height * size.width;
  const int64_t planes = conv.images * conv.groups;
  const int64_t weight_bytes = filters * taps * ((channels + 7) / 8);  // of one group
  const int64_t prepared_bytes = round_up(kernel.prepared_bytes(filters, depth), 64);

  std::vector<int64_t> tap_words(depth), origins(out_pixels);
  for (int64_t k = 0; k < depth; ++k) {
    const int64_t tap = k / words, y = tap / conv.kernel.width, x = tap % conv.kernel.width;
    tap_words[k] = (y * conv.dilate.height * padded.width + x * conv.dilate.width) * words + k % words;
  }
  for (int64_t p = 0; p < out_pixels; ++p) {
    origins[p] = (p / size.width * conv.stride.height * padded.width + p % size.width * conv.stride.width) * words;
  }
  const bool discount = conv.pad_value == 0 && (conv.pad.height || conv.pad.width);
  const std::vector<int64_t> sums = discount ? sum_taps(conv, weight) : std::vector<int64_t>();
  const Thresholds limits(conv, threshold);

  std::vector<uint64_t> activations(planes * image_words(conv));
  std::vector<uint8_t> block(conv.groups * prepared_bytes + 64);
  uint8_t* weights = block.data() + (64 - reinterpret_cast<uintptr_t>(block.data()) % 64);

  const bool parallel = planes * out_pixels * filters * depth > kSerialWords;
  const int64_t threads = parallel ? omp_get_max_threads() : 1;
  const int64_t chunk = std::min({kMaxChunk, (planes * out_pixels + threads - 1) / threads, out_pixels});
  const int64_t chunks = (out_pixels + chunk - 1) / chunk, tile_stride = round_up(filters, kFilterTile);
#pragma omp parallel num_threads(threads)
  {
    std::vector<int32_t> tile_block(chunk * tile_stride + 16);
    int32_t* tile = tile_block.data() + (64 - reinterpret_cast<uintptr_t>(tile_block.data()) % 64) / 4;
#pragma omp for schedule(static) nowait
    for (int64_t group = 0; group < conv.groups; ++group) {
      std::vector<uint64_t> unprepared(filters * depth);
      pack_weights(conv, weight + group * weight_bytes, unprepared.data());
      kernel.prepare(unprepared.data(), filters, depth, weights + group * prepared_bytes);
    }
#pragma omp for schedule(static)
    for (int64_t task = 0; task < planes * conv.image.height; ++task) {
      const int64_t plane = task / conv.image.height, row = task % conv.image.height, group = plane % conv.groups;
      uint64_t* to = activations.data() + plane * image_words(conv);
      if (row == 0) fill_padding(conv, to);
      Binarization<float> row_bits;
      row_bits.data = data + plane / conv.groups * conv.channels * in_pixels + group * channels * conv.channel_stride +
                      row * conv.image.width * conv.pixel_stride;
      row_bits.channel_stride = conv.channel_stride;
      row_bits.pixel_stride = conv.pixel_stride;
      row_bits.channels = channels;
      row_bits.pixels = conv.image.width;
      row_bits.threshold = limits.threshold.data() + group * channels;
      row_bits.flip = limits.flip.data() + group * limits.halves;
      row_bits.out = reinterpret_cast<uint32_t*>(
          to + ((row + conv.pad.height) * padded.width + conv.pad.width) * words);
      row_bits.out_stride = 2 * words;
      kernel.binarize_floats(row_bits);
    }
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < planes * chunks; ++task) {
      const int64_t plane = task / chunks, group = plane % conv.groups, begin = task % chunks * chunk;
      Product product;
      product.activations = activations.data() + plane * image_words(conv);
      product.origins = origins.data() + begin;
      product.taps = tap_words.data();
      product.weights = weights + group * prepared_bytes;
      product.depth = depth;
      product.bits = channels * taps;
      product.filters = filters;
      product.pixels = std::min(chunk, out_pixels - begin);
      product.out = tile;
      product.out_stride = tile_stride;
      kernel.multiply(product);
      float* to = out + plane * filters * out_pixels + begin * conv.out_pixel_stride;
      for (int64_t p = 0; p < product.pixels; ++p) {
        for (int64_t o = 0; o < filters; ++o) {
          to[p * conv.out_pixel_stride + o * conv.out_filter_stride] = static_cast<float>(tile[p * tile_stride + o]);
        }
        if (discount) {
          discount_padding(conv, sums.data() + group * filters, begin + p, filters, to + p * conv.out_pixel_stride);
        }
      }
    }
  }
}

}  // namespace bmx
