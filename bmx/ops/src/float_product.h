// Products of float convolutions. A kernel that runs on part of the CPUs only includes this inside its target region,
// as it does binarize.h, and gives its vectors as a type Floats: Vector; kLanes, floats in one; zero, all (one float in
// all lanes), load, store, multiply_add (fused); kRows, rows in a tile at most; kSums, vectors of sums that fit the
// registers.
#ifndef BMX_FLOAT_PRODUCT_H_
#define BMX_FLOAT_PRODUCT_H_

#include <cstdint>

#include "kernels.h"
#include "target.h"

namespace bmx {
namespace {

constexpr int kMostVectors = 8;  // in a row of a tile: each needs a pointer

// Vectors in the rows of a tile at most.
template <typename Floats>
constexpr int most_vectors(int rows) {
  return rows == 0 ? 1 : Floats::kSums / rows < kMostVectors ? Floats::kSums / rows : kMostVectors;
}

// Sums of `Rows` rows and `Vectors` vectors of columns: each float is loaded once for all of them.
template <typename Floats, int Rows, int Vectors>
struct FloatTile {
  // Runs the tile of this size, or of the next smaller one.
  static void run(const FloatProduct& product, int64_t rows, int64_t vectors, int64_t row, int64_t column) {
    if (rows < Rows) {
      FloatTile<Floats, Rows - 1, most_vectors<Floats>(Rows - 1)>::run(product, rows, vectors, row, column);
    } else if (vectors < Vectors) {
      FloatTile<Floats, Rows, Vectors - 1>::run(product, rows, vectors, row, column);
    } else {
      multiply(product, row, column);
    }
  }

  static void multiply(const FloatProduct& product, int64_t row, int64_t column) {
    typedef typename Floats::Vector Vector;
    const float *rows = product.rows + row, *columns[Vectors];
    for (int v = 0; v < Vectors; ++v) {
      const uint64_t at = column + v * Floats::kLanes;
      columns[v] = product.columns + at / kFloatLanes * product.block_stride + at % kFloatLanes;
    }
    const int64_t *row_offset = product.row_offsets, *column_offset = product.column_offsets;
    const int64_t *const end = row_offset + product.depth, out_stride = product.out_stride;
    float* out = product.out + row * out_stride + column;
    Vector sums[Rows][Vectors];
    for (int r = 0; r < Rows; ++r) {
      for (int v = 0; v < Vectors; ++v) sums[r][v] = Floats::zero();
    }
    do {  // at least once: so the sums are in registers from the beginning
      const float* factors = rows + *row_offset++;
      const int64_t offset = *column_offset++;
      Vector values[Vectors];
      for (int v = 0; v < Vectors; ++v) values[v] = Floats::load(columns[v] + offset);
      for (int r = 0; r < Rows; ++r) {
        const Vector factor = Floats::all(factors[r]);
        for (int v = 0; v < Vectors; ++v) sums[r][v] = Floats::multiply_add(factor, values[v], sums[r][v]);
      }
    } while (row_offset != end);
    for (int r = 0; r < Rows; ++r, out += out_stride) {
      for (int v = 0; v < Vectors; ++v) Floats::store(sums[r][v], out + v * Floats::kLanes);
    }
  }
};

template <typename Floats, int Rows>
struct FloatTile<Floats, Rows, 0> {
  static void run(const FloatProduct&, int64_t, int64_t, int64_t, int64_t) {}
};

template <typename Floats, int Vectors>
struct FloatTile<Floats, 0, Vectors> {
  static void run(const FloatProduct&, int64_t, int64_t, int64_t, int64_t) {}
};

// The next of the parts of about equal size, at most `most`, that `left` is cut into.
inline int64_t next_part(int64_t left, int64_t most) {
  const int64_t parts = ceil_div(left, most);
  return ceil_div(left, parts);
}

template <typename Floats>
void multiply_floats(const FloatProduct& product) {
  typedef FloatTile<Floats, Floats::kRows, most_vectors<Floats>(Floats::kRows)> Largest;
  const int64_t most_rows = next_part(product.row_count, Floats::kRows);
  const int64_t most = most_vectors<Floats>(static_cast<int>(most_rows));
  for (int64_t column = 0, vectors; column < product.column_count; column += vectors * Floats::kLanes) {
    vectors = next_part((product.column_count - column) / Floats::kLanes, most);
    for (int64_t row = 0, rows; row < product.row_count; row += rows) {
      rows = next_part(product.row_count - row, most_rows);
      Largest::run(product, rows, vectors, row, column);
    }
  }
}

template <typename Floats>
int64_t float_bound(int64_t iterations) {
  typedef typename Floats::Vector Vector;
  constexpr int kSums = 12;  // independent, so that latency does not bound
  Vector sums[kSums], x = Floats::zero(), y = Floats::zero();
  for (int i = 0; i < kSums; ++i) sums[i] = Floats::zero();
  for (int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < kSums; ++j) {
      __asm__("" : "+" BMX_VECTOR(x), "+" BMX_VECTOR(y));
      sums[j] = Floats::multiply_add(x, y, sums[j]);
    }
  }
  for (int i = 0; i < kSums; ++i) __asm__ volatile("" : : BMX_VECTOR(sums[i]));
  return iterations * kSums * Floats::kLanes;
}

}  // namespace
}  // namespace bmx

#endif  // BMX_FLOAT_PRODUCT_H_
