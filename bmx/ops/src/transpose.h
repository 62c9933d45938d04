// Transposition between layouts.
#ifndef BMX_TRANSPOSE_H_
#define BMX_TRANSPOSE_H_

#include <cstdint>

namespace bmx {

// to[j * to_stride + i] = from[i * from_stride + j] for 0 <= i < rows, 0 <= j < columns.
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride);

}  // namespace bmx

#endif  // BMX_TRANSPOSE_H_
