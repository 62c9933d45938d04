// Weights in blocks of filters whose words are adjacent: the layout of kernels that compute a block at once.
#ifndef BMX_BLOCKS_H_
#define BMX_BLOCKS_H_

#include <cstdint>

#include "kernels.h"

namespace bmx {

template <int Block>
int64_t blocks_bytes(int64_t filters, int64_t depth) {
  return round_up(filters, Block) * depth * 8;
}

// (blocks, depth, Block): missing filters are 0.
template <int Block>
void prepare_blocks(const uint64_t* weights, int64_t filters, int64_t depth, void* prepared) {
  static_assert(kInterleaved % Block == 0, "a block is a part of the interleaved filters");
  uint64_t* to = static_cast<uint64_t*>(prepared);
  for (int64_t first = 0; first < filters; first += Block) {
    const int64_t left = filters - first / kFilterTile * kFilterTile;
    const int64_t stored = interleaved_filters(left);
    const uint64_t* from = weights + first / kFilterTile * kFilterTile * depth + first % kFilterTile;
    for (int64_t k = 0; k < depth; ++k, from += stored) {
      for (int64_t f = 0; f < Block; ++f) *to++ = from[f];
    }
  }
}

}  // namespace bmx

#endif  // BMX_BLOCKS_H_
