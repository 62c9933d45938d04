// Float32 multiply-adds in registers: what bounds the float convolution that a binary one is compared with.
#include "measure.h"
#include "target.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace bmx {
namespace {

constexpr int kSums = 12;  // independent, so that latency does not bound

// Multiply-adds of `Vector`s: sums[i] += x * y, `iterations` times each.
#define BMX_MULTIPLY_ADDS(Vector, add)                                             \
  Vector sums[kSums] = {}, x = {}, y = {};                                         \
  for (int64_t i = 0; i < iterations; ++i) {                                       \
    for (int j = 0; j < kSums; ++j) {                                              \
      __asm__("" : "+" BMX_VECTOR(x), "+" BMX_VECTOR(y));                          \
      sums[j] = add;                                                               \
    }                                                                              \
  }                                                                                \
  for (int j = 0; j < kSums; ++j) __asm__ volatile("" : "+" BMX_VECTOR(sums[j]));  \
  return iterations * kSums * static_cast<int64_t>(sizeof(Vector) / sizeof(float));

typedef float Four __attribute__((vector_size(16)));
int64_t multiply_adds(int64_t iterations) { BMX_MULTIPLY_ADDS(Four, sums[j] + x * y) }

#ifdef __x86_64__
BMX_TARGET("avx2,fma")
int64_t multiply_adds_avx2(int64_t iterations) { BMX_MULTIPLY_ADDS(__m256, _mm256_fmadd_ps(x, y, sums[j])) }
BMX_TARGET_END

BMX_TARGET("avx512f")
int64_t multiply_adds_avx512(int64_t iterations) { BMX_MULTIPLY_ADDS(__m512, _mm512_fmadd_ps(x, y, sums[j])) }
BMX_TARGET_END
#endif

}  // namespace

double measure_fma() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return measure_loop(multiply_adds_avx512);
  if (__builtin_cpu_supports("fma")) return measure_loop(multiply_adds_avx2);
#endif
  return measure_loop(multiply_adds);
}

}  // namespace bmx
