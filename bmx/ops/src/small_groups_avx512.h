// Look-ups of small_groups.h with AVX-512 F and BW. A kernel includes this inside its target region.
#ifndef BMX_SMALL_GROUPS_AVX512_H_
#define BMX_SMALL_GROUPS_AVX512_H_

#include <immintrin.h>

#include "small_groups.h"

namespace bmx {
namespace {

class Table {
 public:
  typedef VectorOf<uint8_t, 64>::Type Vector;

  explicit Table(int64_t entry)
      : entries_(_mm512_maskz_broadcast_i32x4(
            0xffff, _mm_load_si128(reinterpret_cast<const __m128i*>(kDifferences.of + entry)))) {}
  Vector at(const Vector& indices) const { return (Vector)_mm512_shuffle_epi8(entries_, (__m512i)indices); }

 private:
  __m512i entries_;
};

}  // namespace
}  // namespace bmx

#endif  // BMX_SMALL_GROUPS_AVX512_H_
