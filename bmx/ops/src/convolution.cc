#include "convolution.h"

#include <algorithm>
#include <cstring>

#include "profile.h"
#include "team.h"

namespace bmx {
namespace {

constexpr float kPowers[kMaxPlanes] = {1, 2, 4, 8, 16, 32, 64, 128};

// Of one plane.
int64_t activation_words(const Convolution& conv) { return conv.groups * conv.input().group_words(); }

int64_t activation_bytes(const Convolution& conv) {
  return round_up(conv.activation_planes() * activation_words(conv) * 8, 64);
}

int64_t block_filters(const Convolution& conv) { return std::min(kFilterTile, conv.group_filters()); }

int64_t blocks(const Convolution& conv) { return ceil_div(conv.group_filters(), kFilterTile); }

// Of the interleaved weights of a block.
int64_t own_bytes(const Convolution& conv) { return interleaved_bytes(block_filters(conv), conv.depth()); }

// As the kernel reads them.
int64_t block_bytes(const Convolution& conv, const Kernel& kernel) {
  return kernel.prepare ? round_up(kernel.prepared_bytes(block_filters(conv), conv.depth()), 64) : own_bytes(conv);
}

int64_t all_blocks(const Convolution& conv) { return conv.weight_planes * conv.groups * blocks(conv); }

bool reads_parameter(const Convolution& conv, const Kernel& kernel) { return conv.interleaved && !kernel.prepare; }

bool interleaves_aside(const Convolution& conv, const Kernel& kernel) { return !conv.interleaved && kernel.prepare; }

int64_t weights_bytes(const Convolution& conv, const Kernel& kernel) {
  return reads_parameter(conv, kernel) ? 0 : round_up(all_blocks(conv) * block_bytes(conv, kernel), 64);
}

int64_t window_sums_bytes(const Convolution& conv) {
  return conv.zero_one ? all_blocks(conv) * kFilterTile * static_cast<int64_t>(sizeof(int32_t)) : 0;
}

// Those of the planes of weights, (weight_planes, filters); none where nothing is multiplied.
std::vector<float> weight_scales(const Convolution& conv, const float* given) {
  if (given) return std::vector<float>(given, given + conv.all_filters());
  std::vector<float> scales(conv.weight_planes > 1 ? conv.all_filters() : 0);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = kPowers[static_cast<int64_t>(i) / conv.filters];
  return scales;
}

}  // namespace

std::vector<int32_t> padding_sums(const Convolution& conv, const uint8_t* weight) {
  if (conv.pad_value != 0 || (!conv.window.pad.height && !conv.window.pad.width)) return {};
  const int64_t taps = conv.window.taps(), filter_bytes = conv.interleaved ? 8 : packed_bytes(conv.group_channels());
  // of a filter: from a part of a tap to the next, and how many
  const int64_t next = conv.interleaved ? 8 * kFilterTile : filter_bytes;
  const int64_t parts = conv.interleaved ? words_for(conv.group_channels()) : 1;
  std::vector<int32_t> sums(taps * conv.all_filters());
  for (int64_t o = 0; o < conv.all_filters(); ++o) {
    const uint8_t* from = weight + o * taps * filter_bytes;
    if (conv.interleaved) from = weight + o / kFilterTile * kFilterTile * conv.depth() * 8 + o % kFilterTile * 8;
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t ones = 0;
      for (int64_t part = 0; part < parts; ++part, from += next) {
        for (int64_t b = 0; b < filter_bytes; ++b) ones += __builtin_popcount(from[b]);
      }
      sums[tap * conv.all_filters() + o] = static_cast<int32_t>(2 * ones - conv.group_channels());
    }
  }
  return sums;
}

struct ConvolutionTask::Unit {
  int64_t image, group, filter, filters, pixel, pixels;  // filter: the first, within the group
};

Memory convolution_memory(const Convolution& conv, const Kernel& kernel) {
  const int64_t residual = conv.binarizations > 1 ? ResidualPacker::bytes(conv.input()) : 0;
  return {activation_bytes(conv) + residual, weights_bytes(conv, kernel) + window_sums_bytes(conv),
          interleaves_aside(conv, kernel) ? own_bytes(conv) : 0};
}

ConvolutionTask::ConvolutionTask(const Convolution& conv, const Binding& binding)
    : conv_(conv),
      kernel_(binding.kernel),
      scales_(conv.scales < 0 ? kPowers : binding.parameter<float>(conv.scales)),
      weight_scales_(weight_scales(conv, binding.parameter<float>(conv.weight_scales))),
      weight_(binding.parameter<uint8_t>(0)),
      steps_(binding.steps),
      out_(binding.out),
      activations_(reinterpret_cast<uint64_t*>(binding.shared)),
      weights_(reads_parameter(conv, kernel_) ? reinterpret_cast<const char*>(weight_) : binding.kept),
      kept_(binding.kept),
      threads_(binding.threads),
      blocks_(blocks(conv)),
      window_sums_(reinterpret_cast<int32_t*>(binding.kept + weights_bytes(conv, kernel_))),
      padding_sums_(padding_sums(conv, weight_)) {
  if (conv.binarizations > 1) {
    auto* residual = new ResidualPacker(conv.input(), binding.in, conv.binarizations, kernel_,
                                        binding.shared + activation_bytes(conv));
    source_.reset(residual);
    scales_ = residual->scales();
  } else {
    source_.reset(new Packer(conv.input(), binding.in, binding.parameter<float>(conv.threshold), kernel_, conv.planes,
                             conv.counted));
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
  split(all_blocks(conv_), [&](int64_t task) {
    const int64_t first = task % blocks_ * kFilterTile, filters = std::min(kFilterTile, conv_.group_filters() - first);
    char* to = kept_ + task * block_bytes(conv_, kernel_);
    const uint64_t* interleaved = reinterpret_cast<const uint64_t*>(weight_ + task * own_bytes(conv_));
    if (!conv_.interleaved) {
      uint64_t* own = reinterpret_cast<uint64_t*>(kernel_.prepare ? threads_ + member() * own_bytes(conv_) : to);
      interleave_weights(weight_ + (task / blocks_ * conv_.group_filters() + first) * taps * bytes, filters, taps,
                         conv_.group_channels(), own);
      interleaved = own;
    }
    if (kernel_.prepare) kernel_.prepare(interleaved, filters, conv_.depth(), to);
  });
}

// The sums of a window's weights are the products with a pixel whose bits are all set.
void ConvolutionTask::add_up_weights() const {
  const Stopwatch stopwatch(Phase::kPacking);
  const int64_t words = words_for(conv_.group_channels()), origin = 0;
  std::vector<uint64_t> ones(words, ~uint64_t{0});
  if (conv_.group_channels() % kWordBits) ones.back() >>= kWordBits - conv_.group_channels() % kWordBits;
  std::vector<int64_t> taps(conv_.depth());
  for (int64_t k = 0; k < conv_.depth(); ++k) taps[k] = k % words;
  split(all_blocks(conv_), [&](int64_t task) {
    const int64_t filters = std::min(kFilterTile, conv_.group_filters() - task % blocks_ * kFilterTile);
    Product product = this->product(task, filters);
    product.activations = ones.data();
    product.origins = &origin;
    product.taps = taps.data();
    product.pixels = 1;
    product.out = window_sums_ + task * kFilterTile;
    kernel_.multiply(product);
  });
  meet();
}

void ConvolutionTask::run(int64_t image) const {
  if (image == 0) prepare_weights();
  source_->run(image, activations_);
  if (image == 0 && conv_.zero_one) add_up_weights();
  // units of equal size, as many for each thread
  const int64_t pixels = conv_.out().pixels(), all_blocks = conv_.groups * blocks_, threads = members();
  const int64_t wanted = round_up(ceil_div(pixels * all_blocks, kPixelTile), threads);
  const int64_t chunks = std::min(ceil_div(wanted, all_blocks), pixels);
  const int64_t chunk = std::min(kPixelTile, ceil_div(pixels, chunks));
  deal(ceil_div(pixels, chunk) * all_blocks, [&](int64_t task) {
    Unit unit;
    unit.image = image;
    unit.group = task % all_blocks / blocks_;
    unit.filter = task % blocks_ * kFilterTile;
    unit.filters = std::min(kFilterTile, conv_.group_filters() - unit.filter);
    unit.pixel = task / all_blocks * chunk;
    unit.pixels = std::min(chunk, pixels - unit.pixel);
    compute(unit);
  });
}

// With a block of weights: all but pixels and where results go.
Product ConvolutionTask::product(int64_t block, int64_t filters) const {
  Product product = {};
  product.weights = weights_ + block * block_bytes(conv_, kernel_);
  product.depth = conv_.depth();
  product.bits = conv_.group_channels() * conv_.window.taps();
  product.filters = filters;
  product.out_stride = kFilterTile;
  return product;
}

void ConvolutionTask::compute(const Unit& unit) const {
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
  alignas(64) int32_t dots[kPixelTile * kFilterTile];
  alignas(64) float inner[kPixelTile * kFilterTile], sums[kPixelTile * kFilterTile];
  const Dots results = {dots,       kFilterTile,  unit.image, unit.group * conv_.group_filters() + unit.filter,
                        unit.pixel, unit.filters, unit.pixels};
  prefetch(results, out_);
  for (int64_t i = 0; i < conv_.weight_planes; ++i) {
    const int64_t block = (i * conv_.groups + unit.group) * blocks_ + unit.filter / kFilterTile;
    Product product = this->product(block, unit.filters);
    product.activations = activations_ + unit.group * conv_.input().group_words();
    product.origins = origins;
    product.taps = taps_.data();
    product.pixels = unit.pixels;
    product.out = dots;
    const int32_t* ones = conv_.zero_one ? window_sums_ + block * kFilterTile : nullptr;
    for (int64_t j = 0; j < conv_.activation_planes(); ++j, product.activations += activation_words(conv_)) {
      {
        const Stopwatch stopwatch(Phase::kGemm);
        kernel_.multiply(product);
      }
      const Stopwatch stopwatch(Phase::kEpilogue);
      if (!padding_sums_.empty()) discount_padding(conv_, padding_sums_, i, results);
      if (conv_.is_scaled()) {
        add_term(kernel_, results, ones, scales_[j], j == 0, inner);
        continue;
      }
      if (ones) count_ones(kernel_, ones, results);
      return finish(kernel_, results, steps_, out_);
    }
    if (weight_scales_.empty()) continue;
    const Stopwatch stopwatch(Phase::kEpilogue);
    add_plane(kernel_, results, inner, weight_scales_.data() + i * conv_.filters, i == 0, sums);
  }
  const Stopwatch stopwatch(Phase::kEpilogue);
  finish_sums(unit, weight_scales_.empty() ? inner : sums);
}

void discount_padding(const Convolution& conv, const std::vector<int32_t>& sums, int64_t plane, const Dots& dots) {
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
    const int32_t* sum = sums.data() + plane * conv.filters + dots.channel;
    for (int64_t tap = 0; tap < window.taps(); ++tap, sum += conv.all_filters()) {
      const int64_t y = top + tap / window.size.width * window.dilate.height;
      const int64_t x = left + tap % window.size.width * window.dilate.width;
      if (y >= 0 && y < conv.image.height && x >= 0 && x < conv.image.width) continue;
      for (int64_t o = 0; o < dots.channels; ++o) values[o] += sum[o];
    }
  }
}

void finish(const Kernel& kernel, Dots dots, const std::vector<Step>& steps, const Slice& out) {
  if (out.layout == Layout::kShorts) return store_sums(kernel, dots, steps, out);
  for (int64_t left = dots.channels; left > 0; left -= kLanes) {
    dots.channels = std::min(kLanes, left);
    store_dots(kernel, dots, steps, out);
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
