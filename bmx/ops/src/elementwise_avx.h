// Vectors of elementwise_loops.h with AVX. A kernel includes this inside its target region.
#ifndef BMX_ELEMENTWISE_AVX_H_
#define BMX_ELEMENTWISE_AVX_H_

#include <immintrin.h>

#include "elementwise_loops.h"

namespace bmx {
namespace {

struct Square8 {
  static constexpr int64_t kSide = 8;

  static void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    __m256 rows[8], pairs[8];
    for (int i = 0; i < 4; ++i) {  // row i with row i + 4, their columns 0 to 3 and 4 to 7
      const float *low = from + i * from_stride, *high = low + 4 * from_stride;
      rows[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
      rows[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low + 4)), _mm_loadu_ps(high + 4), 1);
    }
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      float* column = to + i * to_stride;
      _mm256_storeu_ps(column, _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44));
      _mm256_storeu_ps(column + to_stride, _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee));
      _mm256_storeu_ps(column + 2 * to_stride, _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44));
      _mm256_storeu_ps(column + 3 * to_stride, _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee));
    }
  }
};

struct Avx {
  static constexpr int kBytes = 32;
  typedef Square8 Square;

  static __m256d to_doubles(__m128 floats) { return _mm256_cvtps_pd(floats); }
};

}  // namespace
}  // namespace bmx

#endif  // BMX_ELEMENTWISE_AVX_H_
