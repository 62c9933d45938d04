#include "convolution.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "profile.h"

namespace bmx {
namespace {

// Of one binarization.
int64_t activation_words(const Convolution& conv) { return conv.groups * conv.input().group_words(); }

int64_t activation_bytes(const Convolution& conv) {
  return round_up(conv.binarizations * activation_words(conv) * 8, 64);
}

int64_t block_filters(const Convolution& conv) { return std::min(kFilterTile, conv.group_filters()); }

int64_t blocks(const Convolution& conv) { return ceil_div(conv.group_filters(), kFilterTile); }

// Of the interleaved weights of a block.
int64_t own_bytes(const Convolution& conv) { return interleaved_bytes(block_filters(conv), conv.depth()); }

// As the kernel reads them.
int64_t block_bytes(const Convolution& conv, const Kernel& kernel) {
  return kernel.prepare ? round_up(kernel.prepared_bytes(block_filters(conv), conv.depth()), 64) : own_bytes(conv);
}

bool reads_parameter(const Convolution& conv, const Kernel& kernel) { return conv.interleaved && !kernel.prepare; }

bool interleaves_aside(const Convolution& conv, const Kernel& kernel) { return !conv.interleaved && kernel.prepare; }

}  // namespace

std::vector<int32_t> padding_sums(const Convolution& conv, const uint8_t* weight) {
  if (conv.pad_value != 0 || (!conv.window.pad.height && !conv.window.pad.width)) return {};
  const int64_t taps = conv.window.taps(), filter_bytes = conv.interleaved ? 8 : packed_bytes(conv.group_channels());
  // of a filter: from a part of a tap to the next, and how many
  const int64_t next = conv.interleaved ? 8 * kFilterTile : filter_bytes;
  const int64_t parts = conv.interleaved ? words_for(conv.group_channels()) : 1;
  std::vector<int32_t> sums(taps * conv.filters);
  for (int64_t o = 0; o < conv.filters; ++o) {
    const uint8_t* from = weight + o * taps * filter_bytes;
    if (conv.interleaved) from = weight + o / kFilterTile * kFilterTile * conv.depth() * 8 + o % kFilterTile * 8;
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t ones = 0;
      for (int64_t part = 0; part < parts; ++part, from += next) {
        for (int64_t b = 0; b < filter_bytes; ++b) ones += __builtin_popcount(from[b]);
      }
      sums[tap * conv.filters + o] = static_cast<int32_t>(2 * ones - conv.group_channels());
    }
  }
  return sums;
}

struct ConvolutionTask::Unit {
  int64_t image, group, filter, filters, pixel, pixels;  // filter: the first, within the group
};

Memory convolution_memory(const Convolution& conv, const Kernel& kernel) {
  const int64_t residual = conv.binarizations > 1 ? ResidualPacker::bytes(conv.input()) : 0;
  return {activation_bytes(conv) + residual,
          reads_parameter(conv, kernel) ? 0 : conv.groups * blocks(conv) * block_bytes(conv, kernel),
          interleaves_aside(conv, kernel) ? own_bytes(conv) : 0};
}

ConvolutionTask::ConvolutionTask(const Convolution& conv, const Binding& binding)
    : conv_(conv),
      kernel_(binding.kernel),
      packer_(conv.input(), binding.in, binding.parameter<float>(1), binding.kernel),
      weight_(binding.parameter<uint8_t>(0)),
      steps_(binding.steps),
      out_(binding.out),
      activations_(reinterpret_cast<uint64_t*>(binding.shared)),
      weights_(reads_parameter(conv, kernel_) ? reinterpret_cast<const char*>(weight_) : binding.kept),
      kept_(binding.kept),
      threads_(binding.threads),
      blocks_(blocks(conv)),
      sums_(padding_sums(conv, weight_)) {
  if (conv.binarizations > 1) {
    residual_.reset(new ResidualPacker(conv.input(), binding.in, conv.binarizations, kernel_,
                                       binding.shared + activation_bytes(conv)));
  }
  const Window& window = conv.window;
  const int64_t words = words_for(conv.group_channels());
  taps_.reserve(conv.depth());
  for (int64_t y = 0; y < window.size.height; ++y) {
    for (int64_t x = 0; x < window.size.width; ++x) {
      const int64_t pixel = y * window.dilate.height * window.padded(conv.image).width + x * window.dilate.width;
      for (int64_t w = 0; w < words; ++w) taps_.push_back(pixel * words + w);
    }
  }
}

void ConvolutionTask::prepare_weights() const {
  if (reads_parameter(conv_, kernel_)) return;
  const Stopwatch stopwatch(Phase::kPacking);
  const int64_t taps = conv_.window.taps(), bytes = packed_bytes(conv_.group_channels());
#pragma omp for schedule(static) nowait
  for (int64_t task = 0; task < conv_.groups * blocks_; ++task) {
    const int64_t first = task % blocks_ * kFilterTile, filters = std::min(kFilterTile, conv_.group_filters() - first);
    char* to = kept_ + task * block_bytes(conv_, kernel_);
    const uint64_t* interleaved = reinterpret_cast<const uint64_t*>(weight_ + task * own_bytes(conv_));
    if (!conv_.interleaved) {
      uint64_t* own =
          reinterpret_cast<uint64_t*>(kernel_.prepare ? threads_ + omp_get_thread_num() * own_bytes(conv_) : to);
      interleave_weights(weight_ + (task / blocks_ * conv_.group_filters() + first) * taps * bytes, filters, taps,
                         conv_.group_channels(), own);
      interleaved = own;
    }
    if (kernel_.prepare) kernel_.prepare(interleaved, filters, conv_.depth(), to);
  }
}

void ConvolutionTask::run(int64_t image) const {
  if (image == 0) prepare_weights();
  if (residual_) residual_->run(image, activations_);
  else packer_.run(image, activations_);
  // units of equal size, as many for each thread
  const int64_t pixels = conv_.out().pixels(), all_blocks = conv_.groups * blocks_, threads = omp_get_num_threads();
  const int64_t wanted = round_up(ceil_div(pixels * all_blocks, kPixelTile), threads);
  const int64_t chunks = std::min(ceil_div(wanted, all_blocks), pixels);
  const int64_t chunk = std::min(kPixelTile, ceil_div(pixels, chunks));
#pragma omp for schedule(dynamic)
  for (int64_t task = 0; task < ceil_div(pixels, chunk) * all_blocks; ++task) {
    Unit unit;
    unit.image = image;
    unit.group = task % all_blocks / blocks_;
    unit.filter = task % blocks_ * kFilterTile;
    unit.filters = std::min(kFilterTile, conv_.group_filters() - unit.filter);
    unit.pixel = task / all_blocks * chunk;
    unit.pixels = std::min(chunk, pixels - unit.pixel);
    compute(unit);
  }
}

void ConvolutionTask::compute(const Unit& unit) const {
  alignas(64) int32_t dots[kPixelTile * kFilterTile];
  int64_t origins[kPixelTile];
  const Size stride = conv_.window.stride, size = conv_.out();
  const int64_t words = words_for(conv_.group_channels()), row = conv_.input().padded().width * words;
  int64_t y = unit.pixel / size.width, x = unit.pixel % size.width;
  for (int64_t p = 0; p < unit.pixels; ++p) {
    origins[p] = y * stride.height * row + x * stride.width * words;
    if (++x == size.width) {
      x = 0;
      ++y;
    }
  }
  Product product;
  product.activations = activations_ + unit.group * conv_.input().group_words();
  product.origins = origins;
  product.taps = taps_.data();
  product.weights = weights_ + (unit.group * blocks_ + unit.filter / kFilterTile) * block_bytes(conv_, kernel_);
  product.depth = conv_.depth();
  product.bits = conv_.group_channels() * conv_.window.taps();
  product.filters = unit.filters;
  product.pixels = unit.pixels;
  product.out = dots;
  product.out_stride = kFilterTile;
  const Dots results = {dots,       kFilterTile,  unit.image, unit.group * conv_.group_filters() + unit.filter,
                        unit.pixel, unit.filters, unit.pixels};
  alignas(64) float sums[kPixelTile * kFilterTile];
  for (int64_t term = 0; term < conv_.binarizations; ++term) {
    {
      const Stopwatch stopwatch(Phase::kGemm);
      kernel_.multiply(product);
    }
    const Stopwatch stopwatch(Phase::kEpilogue);
    if (!sums_.empty()) discount_padding(conv_, sums_, results);
    if (!residual_) return finish(kernel_, results, steps_, out_);
    add_term(kernel_, results, residual_->scales()[term], term == 0, sums);
    product.activations += activation_words(conv_);
  }
  const Stopwatch stopwatch(Phase::kEpilogue);
  finish_sums(unit, sums);
}

void discount_padding(const Convolution& conv, const std::vector<int32_t>& sums, const Dots& dots) {
  const Window& window = conv.window;
  for (int64_t p = 0; p < dots.pixels; ++p) {
    const int64_t pixel = dots.pixel + p;
    const int64_t top = pixel / conv.out().width * window.stride.height - window.pad.height;
    const int64_t left = pixel % conv.out().width * window.stride.width - window.pad.width;
    if (top >= 0 && left >= 0 && top + window.reach().height <= conv.image.height &&
        left + window.reach().width <= conv.image.width) {
      continue;
    }
    int32_t* values = dots.values + p * dots.stride;
    const int32_t* sum = sums.data() + dots.channel;
    for (int64_t tap = 0; tap < window.taps(); ++tap, sum += conv.filters) {
      const int64_t y = top + tap / window.size.width * window.dilate.height;
      const int64_t x = left + tap % window.size.width * window.dilate.width;
      if (y >= 0 && y < conv.image.height && x >= 0 && x < conv.image.width) continue;
      for (int64_t o = 0; o < dots.channels; ++o) values[o] += sum[o];
    }
  }
}

void finish(const Kernel& kernel, Dots dots, const std::vector<Step>& steps, const Slice& out) {
  if (out.layout == Layout::kShorts) return store_sums(kernel, dots, steps, out);
  alignas(64) float floats[kPixelTile * kLanes];
  for (int64_t left = dots.channels; left > 0; left -= kLanes) {
    dots.channels = std::min(kLanes, left);
    const Tile tile = {floats, kLanes, dots.image, dots.channel, dots.pixel, dots.channels, dots.pixels};
    convert(kernel, dots, tile);
    apply(kernel, steps, tile);
    store(kernel, tile, out);
    dots.values += kLanes;
    dots.channel += kLanes;
  }
}

void ConvolutionTask::finish_sums(const Unit& unit, float* sums) const {
  Tile tile = {sums,       kFilterTile, unit.image, unit.group * conv_.group_filters() + unit.filter,
               unit.pixel, 0,           unit.pixels};
  for (int64_t left = unit.filters; left > 0; left -= kLanes) {
    tile.channels = std::min(kLanes, left);
    apply(kernel_, steps_, tile);
    store(kernel_, tile, out_);
    tile.values += kLanes;
    tile.channel += kLanes;
  }
}

}  // namespace bmx
