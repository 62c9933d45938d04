#include "float_convolution.h"

namespace bmx {

std::vector<int64_t> FloatConvolution::weight_shape() const {
  int64_t lanes = 1;
  while (lanes < group_filters() && lanes < 16) lanes *= 2;
  return {groups, (group_filters() + lanes - 1) / lanes, depth(), lanes};
}

}  // namespace bmx
