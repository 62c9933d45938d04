#include "tile.h"

#include <algorithm>
#include <cstring>

#include "target.h"
#include "transpose.h"

namespace bmx {
namespace {

constexpr int64_t kPlusPixels = 64;  // pixels added at once: their addends stay in L1

// Loops over kLanes channels become one vector or a few, which without `simd` they do not always. Arguments: what is
// read, `pixels`, what is changed.

BMX_CLONES void widen(const int16_t* __restrict from, int64_t from_stride, int64_t pixels, float* __restrict to,
                      int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) to[p * stride + c] = from[p * from_stride + c];
  }
}

BMX_CLONES void to_floats(const int32_t* __restrict dots, int64_t from_stride, int64_t pixels, float* __restrict to,
                          int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) to[p * stride + c] = static_cast<float>(dots[p * from_stride + c]);
  }
}

BMX_CLONES void scale_dots(const int32_t* __restrict dots, float by, int64_t pixels, int64_t channels,
                           float* __restrict to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) to[p * stride + c] = by * static_cast<float>(dots[p * stride + c]);
  }
}

BMX_CLONES void add_scaled_dots(const int32_t* __restrict dots, float by, int64_t pixels, int64_t channels,
                                float* __restrict to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) to[p * stride + c] += by * static_cast<float>(dots[p * stride + c]);
  }
}

BMX_CLONES void multiply(const float* __restrict by, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] *= by[c];
  }
}

BMX_CLONES void add(const float* __restrict what, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] += what[c];
  }
}

BMX_CLONES void normalize(const float* __restrict mean, const float* __restrict scale, const float* __restrict beta,
                          int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] = (x[p * stride + c] - mean[c]) * scale[c] + beta[c];
  }
}

BMX_CLONES void rectify(int64_t pixels, float* x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] = x[p * stride + c] <= 0.0f ? 0.0f : x[p * stride + c];
  }
}

BMX_CLONES void parametric_rectify(const float* __restrict slope, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) {
      // two choices of a constant and a sum: a choice of a product would become a branch, which nobody predicts
      const float value = x[p * stride + c], above = value > 0.0f ? value : 0.0f, below = value > 0.0f ? 0.0f : value;
      x[p * stride + c] = above + below * slope[c];
    }
  }
}

BMX_CLONES void plus(const float* __restrict addend, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] += addend[p * kLanes + c];
  }
}

BMX_CLONES void largest(const float* __restrict from, int64_t first, int64_t from_pixels, int64_t kernel, int64_t step,
                        int64_t pixels, float* __restrict to) {
  for (int64_t p = 0; p < pixels; ++p, to += kLanes) {
    const int64_t begin = p * step - first, end = begin + kernel;
    for (int64_t k = begin < 0 ? 0 : begin; k < (end < from_pixels ? end : from_pixels); ++k) {
      const float* row = from + k * kLanes;
#pragma omp simd
      for (int64_t c = 0; c < kLanes; ++c) to[c] = to[c] < row[c] ? row[c] : to[c];
    }
  }
}

BMX_CLONES void sum(const float* __restrict from, int64_t first, int64_t from_pixels, int64_t kernel, int64_t step,
                    int64_t pixels, float* __restrict to) {
  for (int64_t p = 0; p < pixels; ++p, to += kLanes) {
    const int64_t begin = p * step - first, end = begin + kernel;
    for (int64_t k = begin < 0 ? 0 : begin; k < (end < from_pixels ? end : from_pixels); ++k) {
      const float* row = from + k * kLanes;
#pragma omp simd
      for (int64_t c = 0; c < kLanes; ++c) to[c] += row[c];
    }
  }
}

BMX_CLONES void narrow(const int32_t* __restrict from, int64_t from_stride, int64_t channels, int64_t pixels,
                       int16_t* __restrict to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) to[p * stride + c] = static_cast<int16_t>(from[p * from_stride + c]);
  }
}

// In vectors, of which the last of a piece may write beyond it what the next pieces write again.
BMX_CLONES void widen_rows(const int16_t* __restrict from, int64_t stride, int64_t channels, const RowPiece* pieces,
                           int64_t count, float* __restrict to, int64_t to_stride) {
  constexpr int64_t kStep = 8;
  const int64_t end = pieces[count - 1].pixel + pieces[count - 1].pixels;
  for (int64_t c = 0; c < channels; ++c, from += stride, to += to_stride) {
    for (int64_t i = 0; i < count; ++i) {
      const int16_t* dots = from + pieces[i].from;
      float* row = to + pieces[i].pixel;
      const int64_t pixels = pieces[i].pixels, last = std::min(pixels, end - pieces[i].pixel - kStep + 1);
      int64_t p = 0;
      for (; p < last; p += kStep) {
#pragma omp simd
        for (int64_t j = 0; j < kStep; ++j) row[p + j] = dots[p + j];
      }
      for (; p < pixels; ++p) row[p] = dots[p];
    }
  }
}

// `to` may be `addend`.
BMX_CLONES void narrow_sum(const int32_t* from, int64_t from_stride, const int16_t* addend, int64_t addend_stride,
                           int64_t channels, int64_t pixels, int16_t* to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p, from += from_stride, addend += addend_stride, to += stride) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<int16_t>(from[c] + addend[c]);
  }
}

BMX_CLONES void plus_shorts(const int16_t* __restrict addend, int64_t addend_stride, int64_t channels, int64_t pixels,
                            int32_t* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) x[p * stride + c] += addend[p * addend_stride + c];
  }
}

// A step's parameters for a tile, one a lane.
struct Lanes {
  float values[kLanes] = {};

  Lanes(const Step& step, int64_t row, const Tile& tile) {
    const float* from = step.values + row * step.channels + (step.single ? 0 : tile.channel);
    for (int64_t c = 0; c < tile.channels; ++c) values[c] = from[step.single ? 0 : c];
  }
};

void add_feature(const Slice& addend, const Tile& tile) {
  alignas(64) float values[kPlusPixels * kLanes];
  for (int64_t p = 0; p < tile.pixels; p += kPlusPixels) {
    const int64_t pixels = std::min(kPlusPixels, tile.pixels - p);
    load(addend, {values, kLanes, tile.image, tile.channel, tile.pixel + p, tile.channels, pixels});
    plus(values, pixels, tile.values + p * tile.stride, tile.stride);
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

void load(const Slice& from, const Tile& to) {
  if (from.layout == Layout::kPlanar) {
    transpose(place<float>(from, to), from.stride, to.channels, to.pixels, to.values, to.stride);
  } else if (from.layout == Layout::kFloats) {
    copy_rows(place<float>(from, to), from.stride, to.channels, to.pixels, to.values, to.stride);
  } else {
    const int16_t* values = place<int16_t>(from, to);
    if (to.channels == kLanes) return widen(values, from.stride, to.pixels, to.values, to.stride);
    for (int64_t p = 0; p < to.pixels; ++p) {
      std::copy(values + p * from.stride, values + p * from.stride + to.channels, to.values + p * to.stride);
    }
  }
}

void convert(const Dots& from, const Tile& to) {
  to_floats(from.values, from.stride, from.pixels, to.values, to.stride);
}

void add_term(const Dots& dots, float scale, bool first, float* sums) {
  (first ? scale_dots : add_scaled_dots)(dots.values, scale, dots.pixels, dots.channels, sums, dots.stride);
}

void apply(const std::vector<Step>& steps, const Tile& tile) {
  for (const Step& step : steps) {
    switch (step.kind) {
      case Step::kMultiply:
        multiply(Lanes(step, 0, tile).values, tile.pixels, tile.values, tile.stride);
        break;
      case Step::kAdd:
        add(Lanes(step, 0, tile).values, tile.pixels, tile.values, tile.stride);
        break;
      case Step::kNormalize:
        normalize(Lanes(step, 0, tile).values, Lanes(step, 1, tile).values, Lanes(step, 2, tile).values, tile.pixels,
                  tile.values, tile.stride);
        break;
      case Step::kRectify:
        rectify(tile.pixels, tile.values, tile.stride);
        break;
      case Step::kParametricRectify:
        parametric_rectify(Lanes(step, 0, tile).values, tile.pixels, tile.values, tile.stride);
        break;
      case Step::kPlus:
        add_feature(step.addend, tile);
        break;
    }
  }
}

void store(const Tile& from, const Slice& to) {
  float* values = place<float>(to, from);
  if (to.layout == Layout::kPlanar) {
    return transpose(from.values, from.stride, from.pixels, from.channels, values, to.stride);
  }
  copy_rows(from.values, from.stride, from.channels, from.pixels, values, to.stride);
}

void store_rows(const int16_t* dots, int64_t stride, int64_t channels, const std::vector<RowPiece>& pieces, float* to,
                int64_t to_stride) {
  widen_rows(dots, stride, channels, pieces.data(), static_cast<int64_t>(pieces.size()), to, to_stride);
}

void store_sums(const Dots& dots, const std::vector<Step>& steps, const Slice& to) {
  int16_t* sums = place<int16_t>(to, dots);
  if (steps.empty()) return narrow(dots.values, dots.stride, dots.channels, dots.pixels, sums, to.stride);
  for (const Step& step : steps) {
    const int16_t* addend = place<int16_t>(step.addend, dots);
    if (&step == &steps.back()) {
      narrow_sum(dots.values, dots.stride, addend, step.addend.stride, dots.channels, dots.pixels, sums, to.stride);
    } else {
      plus_shorts(addend, step.addend.stride, dots.channels, dots.pixels, dots.values, dots.stride);
    }
  }
}

void gather(Pool pool, const Tile& from, int64_t first, int64_t kernel, int64_t stride, const Tile& to) {
  const auto run = pool == Pool::kMax ? largest : sum;
  run(from.values, first, from.pixels, kernel, stride, to.pixels, to.values);
}

}  // namespace bmx
