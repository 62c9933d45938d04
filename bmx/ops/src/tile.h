// Elementwise work on pieces of feature maps that stay in the L1 cache.
#ifndef BMX_TILE_H_
#define BMX_TILE_H_

#include <cstdint>
#include <vector>

#include "feature.h"

namespace bmx {

// Adjacent channels of adjacent pixels: channel c of pixel p is values[p * stride + c].
template <typename Value>
struct Piece {
  Value* values;
  int64_t stride;
  int64_t image, channel, pixel;  // where it begins in its feature map
  int64_t channels, pixels;
};

// Up to kLanes channels as floats. The lanes beyond the last channel hold anything.
constexpr int64_t kLanes = 16;
typedef Piece<float> Tile;

// Results of binary products.
typedef Piece<int32_t> Dots;

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
void convert(const Dots& from, const Tile& to);
// sums += scale * dots, or = where it is the `first`: product and sum are rounded one by one. `sums` have their stride.
void add_term(const Dots& dots, float scale, bool first, float* sums);
void apply(const std::vector<Step>& steps, const Tile& tile);

// `to` holds floats.
void store(const Tile& from, const Slice& to);

// Adjacent pixels of an output, `pixel` the first, whose dots begin at `from`.
struct RowPiece {
  int64_t from, pixel, pixels;
};

// Writes dots, a channel's adjacent, to the planes of floats that begin at `to`. Pieces are in order.
void store_rows(const int16_t* dots, int64_t stride, int64_t channels, const std::vector<RowPiece>& pieces, float* to,
                int64_t to_stride);

// Writes sums of the dots and what the steps add; all are int16. It may change the dots.
void store_sums(const Dots& dots, const std::vector<Step>& steps, const Slice& to);

// Pixel p of `to` becomes the largest, or the sum, of itself and the pixels p * stride + k, 0 <= k < kernel, of `from`,
// in this order, where those are counted from `first` pixels before its beginning. Both have stride kLanes.
void gather(Pool pool, const Tile& from, int64_t first, int64_t kernel, int64_t stride, const Tile& to);

}  // namespace bmx

#endif  // BMX_TILE_H_
