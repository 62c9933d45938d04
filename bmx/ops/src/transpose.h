// Transposition between layouts.
#ifndef BMX_TRANSPOSE_H_
#define BMX_TRANSPOSE_H_

#include <cstdint>

namespace bmx {

// to[j * to_stride + i] = from[i * from_stride + j] for 0 <= i < rows, 0 <= j < columns.
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride);

// to[j * to_stride + i] = from[i * from_stride + j] in blocks of 8 x 8: rows and columns are rounded up to multiples of
// 8, both in what is read and in what is written.
void transpose_shorts(const int16_t* from, int64_t from_stride, int64_t rows, int64_t columns, int32_t* to,
                      int64_t to_stride);

}  // namespace bmx

#endif  // BMX_TRANSPOSE_H_
