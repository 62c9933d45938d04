#include "tile.h"

#include <algorithm>
#include <cstring>

// Compiled for several instruction sets, chosen at load.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BMX_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define BMX_CLONES
#endif

namespace bmx {
namespace {

constexpr int64_t kPlusPixels = 64;  // pixels added at once: their addends stay in L1

typedef float Four __attribute__((vector_size(16)));

#ifdef __clang__
#define BMX_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t Order __attribute__((vector_size(16)));
#define BMX_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, Order{i, j, k, l})
#endif

// The 4x4 values at `from` to `to`, rows to columns.
inline void transpose4(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Four a, b, c, d;
  std::memcpy(&a, from, sizeof a);
  std::memcpy(&b, from + from_stride, sizeof b);
  std::memcpy(&c, from + 2 * from_stride, sizeof c);
  std::memcpy(&d, from + 3 * from_stride, sizeof d);
  const Four ab_low = BMX_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = BMX_SHUFFLE(a, b, 2, 6, 3, 7);
  const Four cd_low = BMX_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = BMX_SHUFFLE(c, d, 2, 6, 3, 7);
  const Four rows[4] = {BMX_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), BMX_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
                        BMX_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), BMX_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(to + i * to_stride, &rows[i], sizeof rows[i]);
}

// to[j * to_stride + i] = from[i * from_stride + j]
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (int64_t j = 0; j < whole_columns; j += 4) {
    for (int64_t i = 0; i < whole_rows; i += 4) {
      transpose4(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
}

BMX_CLONES void widen(const int16_t* __restrict from, int64_t from_stride, int64_t pixels, float* __restrict to,
                      int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) to[p * stride + c] = from[p * from_stride + c];
  }
}

BMX_CLONES void narrow(const float* __restrict from, int64_t stride, int64_t pixels, int16_t* __restrict to,
                       int64_t to_stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) {
      to[p * to_stride + c] = static_cast<int16_t>(static_cast<int32_t>(from[p * stride + c]));
    }
  }
}

BMX_CLONES void to_floats(const int32_t* __restrict dots, int64_t stride, int64_t pixels, float* __restrict to) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) to[p * stride + c] = static_cast<float>(dots[p * stride + c]);
  }
}

BMX_CLONES void multiply(const float* __restrict by, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] *= by[c];
  }
}

BMX_CLONES void add(const float* __restrict what, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] += what[c];
  }
}

BMX_CLONES void normalize(const float* __restrict mean, const float* __restrict scale, const float* __restrict beta,
                          int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] = (x[p * stride + c] - mean[c]) * scale[c] + beta[c];
  }
}

BMX_CLONES void rectify(int64_t pixels, float* x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] = x[p * stride + c] <= 0.0f ? 0.0f : x[p * stride + c];
  }
}

BMX_CLONES void parametric_rectify(const float* __restrict slope, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) {
      const float value = x[p * stride + c];
      x[p * stride + c] = value > 0.0f ? value : value * slope[c];
    }
  }
}

BMX_CLONES void plus(const float* __restrict addend, int64_t pixels, float* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) x[p * stride + c] += addend[p * kLanes + c];
  }
}

BMX_CLONES void largest(const float* __restrict from, int64_t from_stride, float* __restrict to) {
  for (int64_t c = 0; c < kLanes; ++c) to[c] = to[c] < from[c] ? from[c] : to[c];
}

// A tile's parameters, one a lane.
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

}  // namespace

void load(const Slice& from, const Tile& to) {
  const char* first = from.at(to.image, to.channel, to.pixel);
  if (from.layout == Layout::kPlanar) {
    transpose(reinterpret_cast<const float*>(first), from.stride, to.channels, to.pixels, to.values, to.stride);
  } else if (from.layout == Layout::kFloats) {
    const float* values = reinterpret_cast<const float*>(first);
    for (int64_t p = 0; p < to.pixels; ++p) {
      std::copy(values + p * from.stride, values + p * from.stride + to.channels, to.values + p * to.stride);
    }
  } else {
    const int16_t* values = reinterpret_cast<const int16_t*>(first);
    if (to.channels == kLanes) return widen(values, from.stride, to.pixels, to.values, to.stride);
    for (int64_t p = 0; p < to.pixels; ++p) {
      for (int64_t c = 0; c < to.channels; ++c) to.values[p * to.stride + c] = values[p * from.stride + c];
    }
  }
}

void store(const Tile& from, const Slice& to) {
  char* first = to.at(from.image, from.channel, from.pixel);
  if (to.layout == Layout::kPlanar) {
    transpose(from.values, from.stride, from.pixels, from.channels, reinterpret_cast<float*>(first), to.stride);
  } else if (to.layout == Layout::kFloats) {
    float* values = reinterpret_cast<float*>(first);
    for (int64_t p = 0; p < from.pixels; ++p) {
      std::copy(from.values + p * from.stride, from.values + p * from.stride + from.channels, values + p * to.stride);
    }
  } else {
    int16_t* values = reinterpret_cast<int16_t*>(first);
    if (from.channels == kLanes) return narrow(from.values, from.stride, from.pixels, values, to.stride);
    for (int64_t p = 0; p < from.pixels; ++p) {
      for (int64_t c = 0; c < from.channels; ++c) {
        values[p * to.stride + c] = static_cast<int16_t>(from.values[p * from.stride + c]);
      }
    }
  }
}

void convert(const int32_t* dots, const Tile& to) { to_floats(dots, to.stride, to.pixels, to.values); }

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

void take_largest(const Tile& from, int64_t first, int64_t kernel, int64_t stride, const Tile& to) {
  for (int64_t p = 0; p < to.pixels; ++p) {
    const int64_t begin = std::max<int64_t>(0, p * stride - first);
    const int64_t end = std::min(from.pixels, p * stride - first + kernel);
    for (int64_t k = begin; k < end; ++k) {
      largest(from.values + k * from.stride, from.stride, to.values + p * to.stride);
    }
  }
}

}  // namespace bmx
