// The operation `conv`: a binary convolution (convolution.h, grouped.h).
#ifndef BMX_OPERATION_CONV_H_
#define BMX_OPERATION_CONV_H_

#include <cstdint>

#include "filters.h"
#include "program.h"

namespace bmx {

struct ConvWords : Filters {
  int64_t pad_value = -1, binarizations = 1;
  bool interleaved = false;
};

// Makes an instruction this convolution. `weight`, and `threshold` or -1, are parameters.
void set_conv(const ConvWords& words, int64_t weight, int64_t threshold, Instruction* instruction);

}  // namespace bmx

#endif  // BMX_OPERATION_CONV_H_
