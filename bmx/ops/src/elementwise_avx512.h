// Vectors of elementwise_loops.h with AVX-512. A kernel includes this inside its target region.
#ifndef BMX_ELEMENTWISE_AVX512_H_
#define BMX_ELEMENTWISE_AVX512_H_

#include "elementwise_avx.h"

namespace bmx {
namespace {

struct Avx512 {
  static constexpr int kBytes = 64;
  typedef Square8 Square;

  static __m512d to_doubles(__m256 floats) { return _mm512_maskz_cvtps_pd(0xff, floats); }
};

}  // namespace
}  // namespace bmx

#endif  // BMX_ELEMENTWISE_AVX512_H_
