#include "planes.h"

#include <algorithm>
#include <cstring>

namespace bmx {
namespace {

constexpr int64_t kPiece = 64;  // pixels that are transposed, or added, at once

// Calls `run` for each row, or once where the rows are adjacent, with its first value, its first pixel and its pixels.
template <typename Function>
void for_rows(const Planes& planes, const Function& run) {
  if (!planes.has_gaps()) return run(planes.values, planes.pixel, planes.rows * planes.columns);
  for (int64_t y = 0; y < planes.rows; ++y) {
    run(planes.values + y * planes.row_stride, planes.pixel + y * planes.row_pixels, planes.columns);
  }
}

// Calls `run` for pieces of up to kLanes channels and kPiece pixels: with a tile without values, and those of the
// plane.
template <typename Function>
void for_tiles(const Planes& planes, const Function& run) {
  for_rows(planes, [&](float* values, int64_t pixel, int64_t pixels) {
    for (int64_t c = 0; c < planes.channels; c += kLanes) {
      for (int64_t p = 0; p < pixels; p += kPiece) {
        const Tile tile = {nullptr,
                           kLanes,
                           planes.image,
                           planes.channel + c,
                           pixel + p,
                           std::min(kLanes, planes.channels - c),
                           std::min(kPiece, pixels - p)};
        run(tile, values + c * planes.stride + p);
      }
    }
  });
}

void add_feature(const Kernel& kernel, const Slice& addend, const Planes& planes) {
  if (addend.layout == Layout::kPlanar) {
    return for_rows(planes, [&](float* values, int64_t pixel, int64_t pixels) {
      for (int64_t c = 0; c < planes.channels; ++c) {
        const char* from = addend.at(planes.image, (planes.channel + c) % addend.channels, pixel);
        kernel.elementwise.plus_plane(reinterpret_cast<const float*>(from), pixels, values + c * planes.stride);
      }
    });
  }
  for_tiles(planes, [&](Tile tile, float* values) {
    alignas(64) float loaded[kPiece * kLanes], turned[kPiece * kLanes];
    tile.values = loaded;
    load_repeated(kernel, addend, tile);
    kernel.elementwise.transpose(loaded, kLanes, tile.pixels, tile.channels, turned, kPiece);
    for (int64_t c = 0; c < tile.channels; ++c) {
      kernel.elementwise.plus_plane(turned + c * kPiece, tile.pixels, values + c * planes.stride);
    }
  });
}

}  // namespace

void load(const Kernel& kernel, const Slice& from, const Planes& to) {
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
    load(kernel, from, tile);
    kernel.elementwise.transpose(loaded, kLanes, tile.pixels, tile.channels, values, to.stride);
  });
}

void apply(const Kernel& kernel, const std::vector<Step>& steps, const Planes& planes) {
  const int64_t count = (planes.rows - 1) * planes.row_stride + planes.columns;
  for (const Step& step : steps) {
    if (step.kind == Step::kPlus) {
      add_feature(kernel, step.addend, planes);
      continue;
    }
    for (int64_t c = 0; c < planes.channels; ++c) {
      float values[kMaxStepValues];
      for (int64_t row = 0; row < step.value_count(); ++row) {
        values[row] = step.values[row * step.channels + (step.single ? 0 : planes.channel + c)];
      }
      kernel.elementwise.plane_steps[step.kind](values, count, planes.values + c * planes.stride);
    }
  }
}

void store(const Kernel& kernel, const Planes& from, const Slice& to) {
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
    kernel.elementwise.transpose(values, from.stride, tile.channels, tile.pixels, turned, kLanes);
    store(kernel, tile, to);
  });
}

}  // namespace bmx
