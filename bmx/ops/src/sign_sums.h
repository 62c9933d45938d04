// Sums of floats with signs, four at a look-up (SignSums of kernels.h). A kernel that runs on part of the CPUs only
// includes this inside its target region, as it does binarize.h, and gives its vectors as a type Signs: those of
// float_product.h; Index and Table, what becomes of the indices of kLanes columns and of a table; index, table,
// look_up.
//
// Of four values there are 16 sums with signs. A table holds them, an index chooses one: a look-up and an addition do
// the work of four multiply-adds, and a table serves all columns and, in a convolution, all taps. Half of a table is
// the negative of the other half, so that a kernel whose vectors hold eight floats looks up one of eight and a sign.
#ifndef BMX_SIGN_SUMS_H_
#define BMX_SIGN_SUMS_H_

#include <cstdint>

#include "float_product.h"
#include "kernels.h"
#include "vectors.h"

namespace bmx {
namespace {

constexpr int kSignVectors = 4;  // in a row of a tile at most

template <typename Signs>
constexpr int most_sign_vectors(int rows) {
  return rows == 0 ? 1 : Signs::kSums / rows < kSignVectors ? Signs::kSums / rows : kSignVectors;
}

// Sums of `Rows` rows and `Vectors` vectors of columns.
template <typename Signs, int Rows, int Vectors>
struct SignTile {
  // Runs the tile of this size, or of the next smaller one.
  static void run(const SignSums& sums, int64_t rows, int64_t vectors, int64_t row, int64_t column) {
    if (rows < Rows) {
      SignTile<Signs, Rows - 1, most_sign_vectors<Signs>(Rows - 1)>::run(sums, rows, vectors, row, column);
    } else if (vectors < Vectors) {
      SignTile<Signs, Rows, Vectors - 1>::run(sums, rows, vectors, row, column);
    } else {
      add_up(sums, row, column);
    }
  }

  static void add_up(const SignSums& s, int64_t row, int64_t column) {
    typedef typename Signs::Vector Vector;
    const float* tables = s.tables + row * s.row_stride;
    const uint8_t* indices = s.indices + column;
    float* out = s.out + row * s.out_stride + column;
    Vector sums[Rows][Vectors];
    for (int r = 0; r < Rows; ++r) {
      for (int v = 0; v < Vectors; ++v) {
        sums[r][v] = s.begins ? Signs::zero() : Signs::load(out + r * s.out_stride + v * Signs::kLanes);
      }
    }
    int64_t k = 0;
    do {  // at least once: so the sums are in registers from the beginning
      const float* from = tables + s.table_offsets[k];
      const uint8_t* at = indices + s.index_offsets[k];
      typename Signs::Index index[Vectors];
      for (int v = 0; v < Vectors; ++v) index[v] = Signs::index(at + v * Signs::kLanes);
      for (int r = 0; r < Rows; ++r, from += s.row_stride) {
        const typename Signs::Table table = Signs::table(from);
        for (int v = 0; v < Vectors; ++v) sums[r][v] = sums[r][v] + Signs::look_up(table, index[v]);
      }
    } while (++k < s.depth);
    for (int r = 0; r < Rows; ++r, out += s.out_stride) {
      for (int v = 0; v < Vectors; ++v) Signs::store(sums[r][v], out + v * Signs::kLanes);
    }
  }
};

template <typename Signs, int Rows>
struct SignTile<Signs, Rows, 0> {
  static void run(const SignSums&, int64_t, int64_t, int64_t, int64_t) {}
};

template <typename Signs, int Vectors>
struct SignTile<Signs, 0, Vectors> {
  static void run(const SignSums&, int64_t, int64_t, int64_t, int64_t) {}
};

template <typename Signs>
void add_signed(const SignSums& sums) {
  typedef SignTile<Signs, Signs::kRows, most_sign_vectors<Signs>(Signs::kRows)> Largest;
  const int64_t most_rows = next_part(sums.rows, Signs::kRows);
  const int64_t most = most_sign_vectors<Signs>(static_cast<int>(most_rows));
  for (int64_t column = 0, vectors; column < sums.columns; column += vectors * Signs::kLanes) {
    vectors = next_part((sums.columns - column) / Signs::kLanes, most);
    for (int64_t row = 0, rows; row < sums.rows; row += rows) {
      rows = next_part(sums.rows - row, most_rows);
      Largest::run(sums, rows, vectors, row, column);
    }
  }
}

// Signs of the four values in the entries of a table.
struct EntrySigns {
  float of[4][kSignEntries];
  constexpr EntrySigns() : of() {
    for (int e = 0; e < kSignEntries; ++e) {
      for (int i = 0; i < 4; ++i) of[i][e] = ((i == 3 || e >> i & 1) != (e >= 8)) ? 1.0f : -1.0f;
    }
  }
};
alignas(64) constexpr EntrySigns kEntrySigns;

template <int Bytes>
void make_sign_tables(const SignTables& t) {
  typedef typename VectorOf<float, Bytes>::Type Values;
  constexpr int kLanes = Bytes / 4;
  static const float zero = 0;
  const float* x[4];
  int64_t steps[4];
  for (int i = 0; i < 4; ++i) {
    x[i] = i < t.values ? t.first + i * t.value_stride : &zero;
    steps[i] = i < t.values ? t.step : 0;
  }
  float* out = t.out;
  for (int64_t each = 0; each < t.tables; ++each, out += t.out_stride) {
    for (int e = 0; e < kSignEntries; e += kLanes) {
      const auto term = [&](int i) { return load_from<Values>(kEntrySigns.of[i] + e) * *x[i]; };
      const Values front = term(0) + term(1), back = term(2) + term(3);
      store_to(front + back, out + e);
    }
    for (int i = 0; i < 4; ++i) x[i] += steps[i];
  }
}

}  // namespace
}  // namespace bmx

#endif  // BMX_SIGN_SUMS_H_
