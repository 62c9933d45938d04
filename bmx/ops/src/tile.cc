#include "tile.h"

#include <algorithm>
#include <cstring>

namespace bmx {
namespace {

constexpr int64_t kPlusPixels = 64;  // pixels added at once: their addends stay in L1

void apply_to_values(const Kernel& kernel, const Step& step, const Tile& tile) {
  const auto run = kernel.elementwise.tile_steps[step.kind];
  if (step.values && !step.single && tile.channels == kLanes) {
    return run(step.values + tile.channel, step.channels, tile.pixels, tile.values, tile.stride);
  }
  float values[kMaxStepValues * kLanes];  // the lanes beyond the last channel have the first one's
  for (int64_t row = 0; row < step.value_count(); ++row) {
    const float* from = step.values + row * step.channels + (step.single ? 0 : tile.channel);
    for (int64_t c = 0; c < kLanes; ++c) values[row * kLanes + c] = from[step.single || c >= tile.channels ? 0 : c];
  }
  run(values, kLanes, tile.pixels, tile.values, tile.stride);
}

void add_feature(const Kernel& kernel, const Slice& addend, const Tile& tile) {
  alignas(64) float values[kPlusPixels * kLanes];
  for (int64_t p = 0; p < tile.pixels; p += kPlusPixels) {
    const int64_t pixels = std::min(kPlusPixels, tile.pixels - p);
    load(kernel, addend, {values, kLanes, tile.image, tile.channel, tile.pixel + p, tile.channels, pixels});
    kernel.elementwise.plus_tile(values, pixels, tile.values + p * tile.stride, tile.stride);
  }
}

template <typename Value, typename Any>
Value* place(const Slice& slice, const Piece<Any>& piece) {
  return reinterpret_cast<Value*>(slice.at(piece.image, piece.channel, piece.pixel));
}

// Whole tiles without a call for each pixel.
void copy_rows(const float* from, int64_t from_stride, int64_t channels, int64_t pixels, float* to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p, from += from_stride, to += stride) {
    if (channels == kLanes) std::memcpy(to, from, kLanes * sizeof(float));
    else std::copy(from, from + channels, to);
  }
}

}  // namespace

void load(const Kernel& kernel, const Slice& from, const Tile& to) {
  if (from.layout == Layout::kPlanar) {
    kernel.elementwise.transpose(place<float>(from, to), from.stride, to.channels, to.pixels, to.values, to.stride);
  } else if (from.layout == Layout::kFloats) {
    copy_rows(place<float>(from, to), from.stride, to.channels, to.pixels, to.values, to.stride);
  } else {
    const int16_t* values = place<int16_t>(from, to);
    if (to.channels == kLanes) return kernel.elementwise.widen(values, from.stride, to.pixels, to.values, to.stride);
    for (int64_t p = 0; p < to.pixels; ++p) {
      std::copy(values + p * from.stride, values + p * from.stride + to.channels, to.values + p * to.stride);
    }
  }
}

void convert(const Kernel& kernel, const Dots& from, const Tile& to) {
  kernel.elementwise.to_floats(from.values, from.stride, from.pixels, to.values, to.stride);
}

void add_term(const Kernel& kernel, const Dots& dots, const int32_t* ones, float scale, bool first, float* sums) {
  kernel.elementwise.add_term(dots.values, ones, scale, first, dots.pixels, dots.channels, sums, dots.stride);
}

void add_plane(const Kernel& kernel, const Dots& place, const float* inner, const float* scales, bool first,
               float* sums) {
  kernel.elementwise.add_plane(inner, scales + place.channel, first, place.pixels, place.channels, sums, place.stride);
}

void count_ones(const Kernel& kernel, const int32_t* ones, const Dots& dots) {
  kernel.elementwise.count_ones(ones, dots.pixels, dots.channels, dots.values, dots.stride);
}

void apply(const Kernel& kernel, const std::vector<Step>& steps, const Tile& tile) {
  for (const Step& step : steps) {
    if (step.kind == Step::kPlus) {
      add_feature(kernel, step.addend, tile);
    } else {
      apply_to_values(kernel, step, tile);
    }
  }
}

void store(const Kernel& kernel, const Tile& from, const Slice& to) {
  float* values = place<float>(to, from);
  if (to.layout == Layout::kPlanar) {
    return kernel.elementwise.transpose(from.values, from.stride, from.pixels, from.channels, values, to.stride);
  }
  copy_rows(from.values, from.stride, from.channels, from.pixels, values, to.stride);
}

void store_rows(const Kernel& kernel, const int16_t* dots, int64_t stride, int64_t channels,
                const std::vector<RowPiece>& pieces, float* to, int64_t to_stride) {
  kernel.elementwise.widen_rows(dots, stride, channels, pieces.data(), static_cast<int64_t>(pieces.size()), to,
                                to_stride);
}

void store_sums(const Kernel& kernel, const Dots& dots, const std::vector<Step>& steps, const Slice& to) {
  const Elementwise& own = kernel.elementwise;
  int16_t* sums = place<int16_t>(to, dots);
  if (steps.empty()) return own.narrow(dots.values, dots.stride, dots.channels, dots.pixels, sums, to.stride);
  for (const Step& step : steps) {
    const int16_t* addend = place<int16_t>(step.addend, dots);
    if (&step == &steps.back()) {
      own.narrow_sum(dots.values, dots.stride, addend, step.addend.stride, dots.channels, dots.pixels, sums, to.stride);
    } else {
      own.plus_shorts(addend, step.addend.stride, dots.channels, dots.pixels, dots.values, dots.stride);
    }
  }
}

void gather(const Kernel& kernel, Pool pool, const Tile& from, int64_t first, int64_t size, int64_t stride,
            const Tile& to) {
  const auto run = pool == Pool::kMax ? kernel.elementwise.largest : kernel.elementwise.sum;
  run(from.values, first, from.pixels, size, stride, to.pixels, to.values);
}

}  // namespace bmx
