// Elementwise work on pieces of feature maps that stay in the L1 cache.
#ifndef BMX_TILE_H_
#define BMX_TILE_H_

#include <cstdint>
#include <vector>

#include "feature.h"

namespace bmx {

constexpr int64_t kLanes = 16;

// Up to kLanes channels of adjacent pixels as floats: channel c of pixel p is values[p * stride + c]. The lanes beyond
// the last channel hold anything.
struct Tile {
  float* values;
  int64_t stride;
  int64_t image, channel, pixel;  // where the piece begins in its feature map
  int64_t channels, pixels;
};

// One elementwise step. `values` are the parameter's: one a channel, or a single one for all.
struct Step {
  enum Kind {
    kMultiply,
    kAdd,
    kNormalize,  // (x - mean) * scale + beta, each operation rounded; values (3, channels)
    kRectify,
    kParametricRectify,
    kPlus,  // another feature map
  };
  Kind kind;
  const float* values;
  int64_t channels;  // of the feature map
  bool single;       // is there one value for all channels?
  Slice addend;
};

void load(const Slice& from, const Tile& to);
void store(const Tile& from, const Slice& to);

// Dots of pixel p begin at dots[p * to.stride].
void convert(const int32_t* dots, const Tile& to);

void apply(const std::vector<Step>& steps, const Tile& tile);

// Pixel p of `to` becomes the largest of itself and the pixels p * stride + k, 0 <= k < kernel, of `from`, where those
// are counted from `first` pixels before its beginning.
void take_largest(const Tile& from, int64_t first, int64_t kernel, int64_t stride, const Tile& to);

}  // namespace bmx

#endif  // BMX_TILE_H_
