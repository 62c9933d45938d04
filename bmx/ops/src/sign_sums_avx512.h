// Look-ups of sign_sums.h with AVX-512. A kernel includes this inside its target region.
#ifndef BMX_SIGN_SUMS_AVX512_H_
#define BMX_SIGN_SUMS_AVX512_H_

#include <immintrin.h>

#include "float_product_avx512.h"
#include "sign_sums.h"

namespace bmx {
namespace {

struct Signs : Floats {
  typedef __m512i Index;
  typedef __m512 Table;
  static constexpr int kRows = 6, kSums = 24;
  static constexpr __mmask16 kAll = 0xffff;  // GCC 12 warns of the functions without a mask

  static Index index(const uint8_t* from) {
    return _mm512_maskz_cvtepu8_epi32(kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Table table(const float* from) { return _mm512_loadu_ps(from); }
  static Vector look_up(const Table& table, const Index& index) {
    return _mm512_maskz_permutexvar_ps(kAll, index, table);
  }
};

}  // namespace
}  // namespace bmx

#endif  // BMX_SIGN_SUMS_AVX512_H_
