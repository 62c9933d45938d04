// Look-ups of sign_sums.h one by one, for kernels with vectors of four floats.
#ifndef BMX_PLAIN_SIGNS_H_
#define BMX_PLAIN_SIGNS_H_

#include "sign_sums.h"

namespace bmx {
namespace {

template <typename Floats>
struct Signs : Floats {
  typedef const uint8_t* Index;
  typedef const float* Table;
  static constexpr int kRows = 2, kSums = 4;

  static Index index(const uint8_t* from) { return from; }
  static Table table(const float* from) { return from; }
  static typename Floats::Vector look_up(Table table, Index index) {
    return typename Floats::Vector{table[index[0]], table[index[1]], table[index[2]], table[index[3]]};
  }
};

}  // namespace
}  // namespace bmx

#endif  // BMX_PLAIN_SIGNS_H_
