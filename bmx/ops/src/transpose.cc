#include "transpose.h"

#include <algorithm>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace bmx {
namespace {

typedef float Four __attribute__((vector_size(16)));

#ifdef __clang__
#define BMX_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t Order __attribute__((vector_size(16)));
#define BMX_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, Order{i, j, k, l})
#endif

inline Four load(const float* from) {
  Four values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

void transpose4(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  const Four a = load(from), b = load(from + from_stride);
  const Four c = load(from + 2 * from_stride), d = load(from + 3 * from_stride);
  const Four ab_low = BMX_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = BMX_SHUFFLE(a, b, 2, 6, 3, 7);
  const Four cd_low = BMX_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = BMX_SHUFFLE(c, d, 2, 6, 3, 7);
  const Four rows[4] = {BMX_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), BMX_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
                        BMX_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), BMX_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(to + i * to_stride, &rows[i], sizeof rows[i]);
}

void copy(const float* from, int64_t, float* to, int64_t) { *to = *from; }

#ifdef __x86_64__

__attribute__((target("avx"))) void transpose8(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
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

const bool has_avx = __builtin_cpu_supports("avx");

#else

constexpr bool has_avx = false;
void transpose8(const float*, int64_t, float*, int64_t) {}

#endif

typedef int16_t Eight __attribute__((vector_size(16)));

// Interleaves the first, or last, halves of a and b.
#ifdef __clang__
inline Eight zip_low(Eight a, Eight b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
inline Eight zip_high(Eight a, Eight b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#else
inline Eight zip_low(Eight a, Eight b) { return __builtin_shuffle(a, b, Eight{0, 8, 1, 9, 2, 10, 3, 11}); }
inline Eight zip_high(Eight a, Eight b) { return __builtin_shuffle(a, b, Eight{4, 12, 5, 13, 6, 14, 7, 15}); }
#endif

}  // namespace

void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  const int64_t block = has_avx && rows >= 8 && columns >= 8 ? 8 : rows >= 4 && columns >= 4 ? 4 : 1;
  const auto transpose_block = block == 8 ? transpose8 : block == 4 ? transpose4 : copy;
  for (int64_t j = 0; j < columns; j += block) {
    const int64_t column = std::min(j, columns - block);  // the last block may overlap the one before it
    for (int64_t i = 0; i < rows; i += block) {
      const int64_t row = std::min(i, rows - block);
      transpose_block(from + row * from_stride + column, from_stride, to + column * to_stride + row, to_stride);
    }
  }
}

void transpose_shorts(const int16_t* from, int64_t from_stride, int64_t rows, int64_t columns, int32_t* to,
                      int64_t to_stride) {
  for (int64_t i = 0; i < rows; i += 8) {
    for (int64_t j = 0; j < columns; j += 8) {
      Eight block[8], zipped[8];
      for (int k = 0; k < 8; ++k) std::memcpy(&block[k], from + (i + k) * from_stride + j, sizeof block[k]);
      for (int round = 0; round < 3; ++round) {
        for (int k = 0; k < 4; ++k) {
          zipped[2 * k] = zip_low(block[k], block[k + 4]);
          zipped[2 * k + 1] = zip_high(block[k], block[k + 4]);
        }
        std::copy(zipped, zipped + 8, block);
      }
      for (int k = 0; k < 8; ++k) {
        int32_t* row = to + (j + k) * to_stride + i;
        for (int c = 0; c < 8; ++c) row[c] = block[k][c];
      }
    }
  }
}

}  // namespace bmx
