// Elementwise work on pieces of feature maps that stay in the L1 cache.
#ifndef BMX_TILE_H_
#define BMX_TILE_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "kernels.h"

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
typedef Piece<float> Tile;

// Results of binary products.
typedef Piece<int32_t> Dots;

void load(const Kernel& kernel, const Slice& from, const Tile& to);
// The same of what is added, whose channels may be fewer and begin anew then.
void load_repeated(const Kernel& kernel, const Slice& from, const Tile& to);
// sums += scale * dots, or = where it is the `first`: product and sum are rounded one by one. `sums` have their stride.
// `ones`: null, or first done as by count_ones.
void add_term(const Kernel& kernel, const Dots& dots, const int32_t* ones, float scale, bool first, float* sums);
// The same of floats with a scale for each of their channels, `scales` being those of all. Both tiles have the stride
// of the place.
void add_plane(const Kernel& kernel, const Dots& place, const float* inner, const float* scales, bool first,
               float* sums);
// dots = (dots + ones) / 2, with a value for each of their channels: products of signs with weights become those of
// ones and zeros where it is the sum of the weights.
void count_ones(const Kernel& kernel, const int32_t* ones, const Dots& dots);
void apply(const Kernel& kernel, const std::vector<Step>& steps, const Tile& tile);

// Asks for the memory of what is written soon.
void prefetch(const Dots& dots, const Slice& to);

// Writes what the steps make of up to kLanes channels of dots; `to` holds floats.
void store_dots(const Kernel& kernel, const Dots& dots, const std::vector<Step>& steps, const Slice& to);

// `to` holds floats.
void store(const Kernel& kernel, const Tile& from, const Slice& to);

// Writes dots, a channel's adjacent, to the planes of floats that begin at `to`. Pieces are in order.
void store_rows(const Kernel& kernel, const int16_t* dots, int64_t stride, int64_t channels,
                const std::vector<RowPiece>& pieces, float* to, int64_t to_stride);

// Writes sums of the dots and what the steps add; all are int16. It may change the dots.
void store_sums(const Kernel& kernel, const Dots& dots, const std::vector<Step>& steps, const Slice& to);

// Pixel p of `to` becomes the largest, or the sum, of itself and the pixels p * stride + k, 0 <= k < size, of `from`,
// in this order, where those are counted from `first` pixels before its beginning. `to` has stride kLanes.
void gather(const Kernel& kernel, Pool pool, const Tile& from, int64_t first, int64_t size, int64_t stride,
            const Tile& to);

}  // namespace bmx

#endif  // BMX_TILE_H_
