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
constexpr int64_t kPiece = 64;           // input pixels a thread packs at once
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

}  // namespace

void convolve(const Convolution& conv, const float* data, const uint8_t* weight, const float* threshold, float* out) {
  const Kernel& kernel = current_kernel();
  const int64_t channels = conv.group_channels(), filters = conv.group_filters();
  const int64_t words = words_for(channels), taps = conv.kernel.height * conv.kernel.width, depth = taps * words;
  const Size padded = conv.padded(), size = conv.out();
  const int64_t in_pixels = conv.image.height * conv.image.width, out_pixels = size.height * size.width;
  const int64_t planes = conv.images * conv.groups;
  const int64_t blocks = (filters + kernel.block - 1) / kernel.block, block_words = kernel.block * depth;
  const int64_t weight_bytes = filters * taps * ((channels + 7) / 8);  // of one group

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

  // uninitialised on purpose: every word is written below
  std::unique_ptr<uint64_t[]> activations(new uint64_t[planes * image_words(conv)]);
  std::unique_ptr<uint64_t[]> weights(new uint64_t[conv.groups * blocks * block_words]);

  const bool parallel = planes * out_pixels * filters * depth > kSerialWords;
  const int64_t threads = parallel ? omp_get_max_threads() : 1;
  const int64_t chunk = std::min({kMaxChunk, (planes * out_pixels + threads - 1) / threads, out_pixels});
  const int64_t chunks = (out_pixels + chunk - 1) / chunk;
  const int64_t pieces = (in_pixels + kPiece - 1) / kPiece;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static) nowait
    for (int64_t task = 0; task < conv.groups * blocks; ++task) {
      pack_weights(conv, weight + task / blocks * weight_bytes, kernel.block, task % blocks,
                   weights.get() + task * block_words);
    }
#pragma omp for schedule(static)
    for (int64_t task = 0; task < planes * pieces; ++task) {
      const int64_t plane = task / pieces, piece = task % pieces, first = plane % conv.groups * channels;
      const float* image = data + plane / conv.groups * conv.channels * in_pixels;
      uint64_t* to = activations.get() + plane * image_words(conv);
      if (piece == 0) fill_padding(conv, to);
      pack_pixels(conv, image + first * conv.channel_stride, threshold ? threshold + first : nullptr,
                  threshold ? threshold + conv.channels + first : nullptr, piece * kPiece,
                  std::min((piece + 1) * kPiece, in_pixels), to);
    }
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < planes * chunks; ++task) {
      const int64_t plane = task / chunks, group = plane % conv.groups, begin = task % chunks * chunk;
      Product product;
      product.activations = activations.get() + plane * image_words(conv);
      product.origins = origins.data() + begin;
      product.taps = tap_words.data();
      product.weights = weights.get() + group * blocks * block_words;
      product.depth = depth;
      product.bits = channels * taps;
      product.filters = filters;
      product.pixels = std::min(chunk, out_pixels - begin);
      product.out = out + plane * filters * out_pixels + begin * conv.out_pixel_stride;
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
