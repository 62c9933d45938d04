// Elementwise work as on tiles (tile.h), where a channel's pixels are adjacent.
#ifndef BMX_PLANES_H_
#define BMX_PLANES_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "tile.h"

namespace bmx {

// A rectangle of adjacent channels: pixel x of row y of channel c is values[c * stride + y * row_stride + x]. What is
// between the rows may be changed.
struct Planes {
  float* values;
  int64_t stride, row_stride;
  int64_t image, channel, pixel, row_pixels;  // where it begins in its feature map, pixels from a row to the next there
  int64_t channels, rows, columns;

  bool has_gaps() const { return rows > 1 && (columns != row_stride || columns != row_pixels); }
};

void load(const Kernel& kernel, const Slice& from, const Planes& to);
void apply(const Kernel& kernel, const std::vector<Step>& steps, const Planes& planes);

// `to` holds floats.
void store(const Kernel& kernel, const Planes& from, const Slice& to);

}  // namespace bmx

#endif  // BMX_PLANES_H_
