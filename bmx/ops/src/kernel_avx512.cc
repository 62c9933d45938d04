// Kernel for AVX-512 with vpopcntq (VPOPCNTDQ: Intel since Ice Lake, AMD since Zen 4).
#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#include "target.h"

namespace bmx {

namespace {

constexpr int64_t kVectorFilters = kInterleaved;  // one 64-bit lane each

bool supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vpopcntdq");
}

}  // namespace

}  // namespace bmx

BMX_TARGET("avx512f,avx512bw,avx512vpopcntdq")

#include "binarize_avx512.h"
#include "elementwise_avx512.h"
#include "float_product_avx512.h"
#include "sign_sums_avx512.h"
#include "small_groups_avx512.h"

namespace bmx {

namespace {

// `Pixels` pixels and `Vectors` vectors of filters: the counts stay in registers.
template <int Pixels, int Vectors>
inline __attribute__((always_inline)) void multiply_tile(const Product& product, const uint64_t* weights, int64_t pixel,
                                                         int32_t* out) {
  const uint64_t* activations[Pixels];
  for (int p = 0; p < Pixels; ++p) activations[p] = product.activations + product.origins[pixel + p];
  __m512i counts[Pixels][Vectors];
  for (int p = 0; p < Pixels; ++p) {
    for (int v = 0; v < Vectors; ++v) counts[p][v] = _mm512_setzero_si512();
  }
  for (int64_t k = 0; k < product.depth; ++k, weights += Vectors * kVectorFilters) {
    const int64_t tap = product.taps[k];
    __m512i words[Pixels];
    for (int p = 0; p < Pixels; ++p) words[p] = _mm512_set1_epi64(activations[p][tap]);
    for (int v = 0; v < Vectors; ++v) {
      const __m512i weight = _mm512_loadu_si512(weights + v * kVectorFilters);
      for (int p = 0; p < Pixels; ++p) {
        const __m512i differing = _mm512_popcnt_epi64(_mm512_xor_si512(words[p], weight));
        counts[p][v] = _mm512_add_epi64(counts[p][v], differing);
      }
    }
  }
  const __m512i bits = _mm512_set1_epi32(static_cast<int32_t>(product.bits));
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  for (int p = 0; p < Pixels; ++p) {
    for (int v = 0; v < Vectors; v += 2) {
      const __m512i next = counts[p][v + 1 < Vectors ? v + 1 : v];
      const __m512i count = _mm512_permutex2var_epi32(counts[p][v], even, next);
      const __m512i dot = _mm512_sub_epi32(bits, _mm512_add_epi32(count, count));
      _mm512_store_si512(out + (pixel + p) * product.out_stride + v * kVectorFilters, dot);
    }
  }
}

template <int Vectors>
void multiply_block(const Product& product, const uint64_t* weights, int32_t* out) {
  int64_t p = 0;
  for (; p + 2 <= product.pixels; p += 2) multiply_tile<2, Vectors>(product, weights, p, out);
  if (p < product.pixels) multiply_tile<1, Vectors>(product, weights, p, out);
}

void multiply(const Product& product) {
  typedef void (*Block)(const Product&, const uint64_t*, int32_t*);
  static constexpr Block blocks[] = {multiply_block<1>, multiply_block<2>, multiply_block<3>, multiply_block<4>,
                                     multiply_block<5>, multiply_block<6>, multiply_block<7>, multiply_block<8>};
  const uint64_t* weights = static_cast<const uint64_t*>(product.weights);
  for (int64_t first = 0; first < product.filters; first += kFilterTile) {
    const int64_t left = product.filters - first;
    const int64_t block = left < kFilterTile ? round_up(left, kVectorFilters) : kFilterTile;
    blocks[block / kVectorFilters - 1](product, weights + first * product.depth, product.out + first);
  }
}

int64_t bound(int64_t iterations) {
  constexpr int kCounts = 16;
  __m512i counts[kCounts], word = _mm512_setzero_si512(), weight = word;
  for (int i = 0; i < kCounts; ++i) counts[i] = _mm512_setzero_si512();
  for (int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kCounts; ++j) {
      __asm__("" : "+v"(word), "+v"(weight));
      counts[j] = _mm512_add_epi64(counts[j], _mm512_popcnt_epi64(_mm512_xor_si512(word, weight)));
    }
  }
  for (int i = 0; i < kCounts; ++i) __asm__ volatile("" : : "v"(counts[i]));
  return iterations * kCounts * 512;
}

}  // namespace

}  // namespace bmx

BMX_TARGET_END

namespace bmx {

extern const Kernel kAvx512 = {"avx512",
                               supported,
                               nullptr,
                               nullptr,
                               multiply,
                               binarize_floats,
                               binarize_shorts,
                               spread<64>,
                               look_up<Table>,
                               multiply_floats<Floats>,
                               add_signed<Signs>,
                               make_sign_tables<64>,
                               4,
                               bound,
                               float_bound<Floats>,
                               elementwise<Avx512>()};

}  // namespace bmx

#endif  // __x86_64__
