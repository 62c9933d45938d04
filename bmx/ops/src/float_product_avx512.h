// Vectors of float_product.h with AVX-512. A kernel includes this inside its target region.
#ifndef BMX_FLOAT_PRODUCT_AVX512_H_
#define BMX_FLOAT_PRODUCT_AVX512_H_

#include <immintrin.h>

#include "float_product.h"

namespace bmx {
namespace {

struct Floats {
  typedef __m512 Vector;
  static constexpr int kLanes = 16, kRows = 8, kSums = 24;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector all(float value) { return _mm512_set1_ps(value); }
  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(const Vector& vector, float* to) { _mm512_storeu_ps(to, vector); }
  static Vector multiply_add(const Vector& a, const Vector& b, const Vector& sum) { return _mm512_fmadd_ps(a, b, sum); }
};

}  // namespace
}  // namespace bmx

#endif  // BMX_FLOAT_PRODUCT_AVX512_H_
