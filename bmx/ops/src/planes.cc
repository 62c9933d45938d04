#include "planes.h"

#include <algorithm>
#include <cstring>

#include "target.h"
#include "transpose.h"

namespace bmx {
namespace {

constexpr int64_t kPiece = 64;  // pixels that are transposed, or added, at once

// Loops over `count` adjacent values become vectors.

BMX_CLONES void multiply(float by, int64_t count, float* x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] *= by;
}

BMX_CLONES void add(float what, int64_t count, float* x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] += what;
}

BMX_CLONES void normalize(float mean, float scale, float beta, int64_t count, float* x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] = (x[p] - mean) * scale + beta;
}

BMX_CLONES void rectify(int64_t count, float* x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] = x[p] <= 0.0f ? 0.0f : x[p];
}

BMX_CLONES void parametric_rectify(float slope, int64_t count, float* x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) {
    const float value = x[p], above = value > 0.0f ? value : 0.0f, below = value > 0.0f ? 0.0f : value;
    x[p] = above + below * slope;
  }
}

BMX_CLONES void plus(const float* __restrict addend, int64_t count, float* __restrict x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] += addend[p];
}

void apply(const Step& step, int64_t channel, int64_t count, float* x) {
  const auto value = [&](int64_t row) { return step.values[row * step.channels + (step.single ? 0 : channel)]; };
  switch (step.kind) {
    case Step::kMultiply:
      return multiply(value(0), count, x);
    case Step::kAdd:
      return add(value(0), count, x);
    case Step::kNormalize:
      return normalize(value(0), value(1), value(2), count, x);
    case Step::kRectify:
      return rectify(count, x);
    case Step::kParametricRectify:
      return parametric_rectify(value(0), count, x);
    case Step::kPlus:
      break;
  }
}

// Calls `run` for each row, or once where the rows are adjacent, with its first value, its first pixel and its pixels.
template <typename Function>
void for_rows(const Planes& planes, const Function& run) {
  if (!planes.has_gaps()) return run(planes.values, planes.pixel, planes.rows * planes.columns);
  for (int64_t y = 0; y < planes.rows; ++y) {
    run(planes.values + y * planes.row_stride, planes.pixel + y * planes.row_pixels, planes.columns);
  }
}

// Calls `run` for pieces of up to kLanes channels and kPiece pixels: with a tile without values, and those of the plane.
template <typename Function>
void for_tiles(const Planes& planes, const Function& run) {
  for_rows(planes, [&](float* values, int64_t pixel, int64_t pixels) {
    for (int64_t c = 0; c < planes.channels; c += kLanes) {
      for (int64_t p = 0; p < pixels; p += kPiece) {
        const Tile tile = {nullptr, kLanes, planes.image, planes.channel + c, pixel + p,
                           std::min(kLanes, planes.channels - c), std::min(kPiece, pixels - p)};
        run(tile, values + c * planes.stride + p);
      }
    }
  });
}

void add_feature(const Slice& addend, const Planes& planes) {
  if (addend.layout == Layout::kPlanar) {
    return for_rows(planes, [&](float* values, int64_t pixel, int64_t pixels) {
      for (int64_t c = 0; c < planes.channels; ++c) {
        const char* from = addend.at(planes.image, planes.channel + c, pixel);
        plus(reinterpret_cast<const float*>(from), pixels, values + c * planes.stride);
      }
    });
  }
  for_tiles(planes, [&](Tile tile, float* values) {
    alignas(64) float loaded[kPiece * kLanes], turned[kPiece * kLanes];
    tile.values = loaded;
    load(addend, tile);
    transpose(loaded, kLanes, tile.pixels, tile.channels, turned, kPiece);
    for (int64_t c = 0; c < tile.channels; ++c) plus(turned + c * kPiece, tile.pixels, values + c * planes.stride);
  });
}

}  // namespace

void load(const Slice& from, const Planes& to) {
  if (from.layout == Layout::kPlanar) {
    return for_rows(to, [&](float* values, int64_t pixel, int64_t pixels) {
      for (int64_t c = 0; c < to.channels; ++c) {
        std::memcpy(values + c * to.stride, from.at(to.image, to.channel + c, pixel), pixels * sizeof(float));
      }
    });
  }
  for_tiles(to, [&](Tile tile, float* values) {
    alignas(64) float loaded[kPiece * kLanes];
    tile.values = loaded;
    load(from, tile);
    transpose(loaded, kLanes, tile.pixels, tile.channels, values, to.stride);
  });
}

void apply(const std::vector<Step>& steps, const Planes& planes) {
  const int64_t count = (planes.rows - 1) * planes.row_stride + planes.columns;
  for (const Step& step : steps) {
    if (step.kind == Step::kPlus) {
      add_feature(step.addend, planes);
    } else {
      for (int64_t c = 0; c < planes.channels; ++c) {
        apply(step, planes.channel + c, count, planes.values + c * planes.stride);
      }
    }
  }
}

void store(const Planes& from, const Slice& to) {
  if (to.layout == Layout::kPlanar) {
    return for_rows(from, [&](const float* values, int64_t pixel, int64_t pixels) {
      for (int64_t c = 0; c < from.channels; ++c) {
        std::memcpy(to.at(from.image, from.channel + c, pixel), values + c * from.stride, pixels * sizeof(float));
      }
    });
  }
  for_tiles(from, [&](Tile tile, const float* values) {
    alignas(64) float turned[kPiece * kLanes];
    tile.values = turned;
    transpose(values, from.stride, tile.channels, tile.pixels, turned, kLanes);
    store(tile, to);
  });
}

}  // namespace bmx
