// How the weights of float convolutions lie in memory.
#ifndef BMX_FLOAT_WEIGHTS_H_
#define BMX_FLOAT_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace bmx {

// (groups, blocks, depth, lanes): filter o of a group is lane o % lanes() of block o / lanes(). Lanes beyond the last
// filter are 0.
struct FloatWeights {
  int64_t groups;
  int64_t filters;  // of a group
  int64_t depth;    // weights of a filter

  int64_t lanes() const {
    int64_t lanes = 1;
    while (lanes < filters && lanes < kFloatLanes) lanes *= 2;
    return lanes;
  }
  int64_t blocks() const { return ceil_div(filters, lanes()); }
  std::vector<int64_t> shape() const { return {groups, blocks(), depth, lanes()}; }
  // Where the first weight of a filter, counted through all groups, lies; the next ones are lanes() from each other.
  int64_t begin(int64_t filter) const {
    const int64_t own = filter % filters;
    return (filter / filters * blocks() + own / lanes()) * depth * lanes() + own % lanes();
  }
};

}  // namespace bmx

#endif  // BMX_FLOAT_WEIGHTS_H_
