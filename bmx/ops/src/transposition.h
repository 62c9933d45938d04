// Transposition, as elementwise.h has it, and of bytes. A kernel that runs on part of the CPUs only includes this
// inside its target region, and gives the largest square of values that it transposes in registers.
#ifndef BMX_TRANSPOSITION_H_
#define BMX_TRANSPOSITION_H_

#include <cstdint>

#include "vectors.h"

namespace bmx {
namespace {

#ifdef __clang__
#define BMX_SHUFFLE(Vector, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define BMX_SHUFFLE(Vector, a, b, ...) __builtin_shuffle(a, b, Vector{__VA_ARGS__})
#endif

struct Square1 {
  static constexpr int64_t kSide = 1;
  static void transpose(const float* from, int64_t, float* to, int64_t) { *to = *from; }
};

struct Square4 {
  static constexpr int64_t kSide = 4;
  typedef float Row __attribute__((vector_size(16)));
  typedef int32_t Order __attribute__((vector_size(16)));

  static void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    const Row a = load_from<Row>(from), b = load_from<Row>(from + from_stride);
    const Row c = load_from<Row>(from + 2 * from_stride), d = load_from<Row>(from + 3 * from_stride);
    const Row ab_low = BMX_SHUFFLE(Order, a, b, 0, 4, 1, 5), ab_high = BMX_SHUFFLE(Order, a, b, 2, 6, 3, 7);
    const Row cd_low = BMX_SHUFFLE(Order, c, d, 0, 4, 1, 5), cd_high = BMX_SHUFFLE(Order, c, d, 2, 6, 3, 7);
    store_to(BMX_SHUFFLE(Order, ab_low, cd_low, 0, 1, 4, 5), to);
    store_to(BMX_SHUFFLE(Order, ab_low, cd_low, 2, 3, 6, 7), to + to_stride);
    store_to(BMX_SHUFFLE(Order, ab_high, cd_high, 0, 1, 4, 5), to + 2 * to_stride);
    store_to(BMX_SHUFFLE(Order, ab_high, cd_high, 2, 3, 6, 7), to + 3 * to_stride);
  }
};

template <typename Square>
void transpose_squares(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to,
                       int64_t to_stride) {
  constexpr int64_t kSide = Square::kSide;
  for (int64_t j = 0; j < columns; j += kSide) {
    const int64_t column = j < columns - kSide ? j : columns - kSide;  // the last may overlap the one before it
    for (int64_t i = 0; i < rows; i += kSide) {
      const int64_t row = i < rows - kSide ? i : rows - kSide;
      Square::transpose(from + row * from_stride + column, from_stride, to + column * to_stride + row, to_stride);
    }
  }
}

template <typename Square>
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  const int64_t side = rows < columns ? rows : columns;
  const auto run = side >= Square::kSide    ? transpose_squares<Square>
                   : side >= Square4::kSide ? transpose_squares<Square4>
                                            : transpose_squares<Square1>;
  run(from, from_stride, rows, columns, to, to_stride);
}

typedef int16_t EightShorts __attribute__((vector_size(16)));
typedef int32_t EightInts __attribute__((vector_size(32)));

void transpose_shorts(const int16_t* from, int64_t from_stride, int64_t rows, int64_t columns, int32_t* to,
                      int64_t to_stride) {
  for (int64_t i = 0; i < rows; i += 8) {
    for (int64_t j = 0; j < columns; j += 8) {
      EightShorts block[8], zipped[8];
      for (int k = 0; k < 8; ++k) block[k] = load_from<EightShorts>(from + (i + k) * from_stride + j);
      for (int round = 0; round < 3; ++round) {
        for (int k = 0; k < 4; ++k) {  // the first, and the last, halves of two rows take turns
          zipped[2 * k] = BMX_SHUFFLE(EightShorts, block[k], block[k + 4], 0, 8, 1, 9, 2, 10, 3, 11);
          zipped[2 * k + 1] = BMX_SHUFFLE(EightShorts, block[k], block[k + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        for (int k = 0; k < 8; ++k) block[k] = zipped[k];
      }
      for (int k = 0; k < 8; ++k) {
        store_to(__builtin_convertvector(block[k], EightInts), to + (j + k) * to_stride + i);
      }
    }
  }
}

#undef BMX_SHUFFLE

// Makes eight rows of eight bytes columns, in every 64-bit lane: for 4, 2 and 1, every row exchanges half of its bytes
// with the row so many further on.
template <typename Words>
inline void transpose_bytes(Words rows[8]) {
  const uint64_t columns[] = {0x00ff00ff00ff00ff, 0x0000ffff0000ffff, 0x00000000ffffffff};
  for (int i = 2; i >= 0; --i) {
    const int distance = 1 << i;
    for (int row = 0; row < 8; ++row) {
      if (row & distance) continue;
      const Words change = ((rows[row] >> 8 * distance) ^ rows[row + distance]) & columns[i];
      rows[row + distance] ^= change;
      rows[row] ^= change << 8 * distance;
    }
  }
}

}  // namespace
}  // namespace bmx

#endif  // BMX_TRANSPOSITION_H_
