// The operation `conv`: a binary convolution (convolution.h, grouped.h).
#ifndef BMX_OPERATION_CONV_H_
#define BMX_OPERATION_CONV_H_

#include <cstdint>

#include "filters.h"
#include "program.h"

namespace bmx {

struct ConvWords : Filters {
  int64_t pad_value = -1, binarizations = 1, planes = 1, weight_planes = 1;
  bool interleaved = false, counted = false, zero_one = false;
  // The parameters' numbers, of all but the weights -1 where there is none.
  int64_t weight = 0, threshold = -1, scales = -1, weight_scales = -1;
};

// Makes an instruction this convolution. Throws where words do not go together.
void set_conv(const ConvWords& words, Instruction* instruction);

}  // namespace bmx

#endif  // BMX_OPERATION_CONV_H_
