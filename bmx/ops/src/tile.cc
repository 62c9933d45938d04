#include "tile.h"

#include <algorithm>
#include <cstring>

namespace bmx {
namespace {

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

constexpr int64_t kPixels = 64;  // worked on at once: what is added to them stays in L1

void run(const Elementwise& own, const TileStep* steps, int64_t count, const Tile& to, const float* from,
         int64_t stride) {
  own.tile_steps(steps, count, to.pixels, from, stride, to.values, to.stride);
}

void run(const Elementwise& own, const TileStep* steps, int64_t count, const Tile& to, const int32_t* from,
         int64_t stride) {
  own.dot_steps(steps, count, to.pixels, from, stride, to.values, to.stride);
}

// Steps on up to kPixels pixels, as many at once as there is memory for what kernels cannot read where it lies.
template <typename Value>
class Steps {
 public:
  Steps(const Kernel& kernel, const Value* from, int64_t stride, const Tile& to)
      : kernel_(kernel), from_(from), stride_(stride), to_(to) {}

  void add(const Step& step) {
    if (count_ == kAtOnce) flush();
    if (step.kind == Step::kPlus) return add_feature(step.addend);
    if (step.value_count() == 0) {
      bound_[count_++] = {step.kind, nullptr, step.channels};
      return;
    }
    const float* values = step.values + (step.single ? 0 : to_.channel);
    if (!step.single && to_.channels == kLanes) {
      bound_[count_++] = {step.kind, values, step.channels};
      return;
    }
    float* copy = values_[count_];  // the lanes beyond the last channel have the first one's
    for (int64_t row = 0; row < step.value_count(); ++row) {
      const float* own = values + row * step.channels;
      for (int64_t c = 0; c < kLanes; ++c) copy[row * kLanes + c] = own[step.single || c >= to_.channels ? 0 : c];
    }
    bound_[count_++] = {step.kind, copy, kLanes};
  }

  // Writes the results.
  void finish() {
    if (written_) run(kernel_.elementwise, bound_, count_, to_, results_, kLanes);
    else run(kernel_.elementwise, bound_, count_, to_, from_, stride_);
  }

 private:
  static constexpr int64_t kAtOnce = 8;

  void add_feature(const Slice& addend) {
    const int64_t channel = to_.channel % addend.channels;
    if (addend.layout == Layout::kFloats && to_.channels == kLanes && channel + kLanes <= addend.channels) {
      const char* values = addend.at(to_.image, channel, to_.pixel);
      bound_[count_++] = {Step::kPlus, reinterpret_cast<const float*>(values), addend.stride};
      return;
    }
    if (loaded_) flush();
    load_repeated(kernel_, addend, {addend_, kLanes, to_.image, to_.channel, to_.pixel, to_.channels, to_.pixels});
    loaded_ = true;
    bound_[count_++] = {Step::kPlus, addend_, kLanes};
  }

  // Not to where they go in the end: what lies there may have to be added.
  void flush() {
    Tile to = to_;
    to.values = results_;
    to.stride = kLanes;
    if (written_) run(kernel_.elementwise, bound_, count_, to, results_, kLanes);
    else run(kernel_.elementwise, bound_, count_, to, from_, stride_);
    written_ = true;
    loaded_ = false;
    count_ = 0;
  }

  const Kernel& kernel_;
  const Value* const from_;
  const int64_t stride_;
  const Tile to_;
  bool written_ = false, loaded_ = false;  // results_, addend_
  int64_t count_ = 0;
  TileStep bound_[kAtOnce];
  float values_[kAtOnce][kMaxStepValues * kLanes];
  alignas(64) float addend_[kPixels * kLanes], results_[kPixels * kLanes];
};

template <typename Value>
void apply(const Kernel& kernel, const std::vector<Step>& steps, const Value* from, int64_t stride, const Tile& tile) {
  for (int64_t p = 0; p < tile.pixels; p += kPixels) {
    Tile to = tile;
    to.values += p * tile.stride;
    to.pixel += p;
    to.pixels = std::min(kPixels, tile.pixels - p);
    Steps<Value> bound(kernel, from + p * stride, stride, to);
    for (const Step& step : steps) bound.add(step);
    bound.finish();
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

void load_repeated(const Kernel& kernel, const Slice& from, const Tile& to) {
  Tile piece = to;
  for (int64_t c = 0; c < to.channels; c += piece.channels) {
    piece.values = to.values + c;
    piece.channel = (to.channel + c) % from.channels;
    piece.channels = std::min(to.channels - c, from.channels - piece.channel);
    load(kernel, from, piece);
  }
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

void prefetch(const Dots& dots, const Slice& to) {
  if (to.layout == Layout::kPlanar) return;
  const int64_t bytes = dots.channels * value_bytes(to.layout);
  for (int64_t p = 0; p < dots.pixels; ++p) {
    const char* values = to.at(dots.image, dots.channel, dots.pixel + p);
    for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(values + b, 1);
  }
}

void apply(const Kernel& kernel, const std::vector<Step>& steps, const Tile& tile) {
  if (!steps.empty()) apply(kernel, steps, tile.values, tile.stride, tile);
}

void store_dots(const Kernel& kernel, const Dots& dots, const std::vector<Step>& steps, const Slice& to) {
  alignas(64) float values[kPixelTile * kLanes];
  Tile tile = {values, kLanes, dots.image, dots.channel, dots.pixel, dots.channels, dots.pixels};
  const bool direct = to.layout == Layout::kFloats && dots.channels == kLanes;
  if (direct) {
    tile.values = place<float>(to, dots);
    tile.stride = to.stride;
  }
  apply(kernel, steps, dots.values, dots.stride, tile);
  if (!direct) store(kernel, tile, to);
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
  run(from.values, from.stride, first, from.pixels, size, stride, to.pixels, to.values);
}

}  // namespace bmx
