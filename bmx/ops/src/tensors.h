// What the binary operators have in common: MXNet's shapes and arrays.
#ifndef BMX_TENSORS_H_
#define BMX_TENSORS_H_

#include <mxnet/lib_api.h>

#include <climits>
#include <cstdint>
#include <string>
#include <vector>

#include "error.h"
#include "execution.h"

namespace bmx {

using Shape = std::vector<unsigned int>;

// MXNet hands an unknown dimension over as -1 cast to unsigned; 0 given back means unknown.
constexpr unsigned int kUnknownIn = UINT_MAX;
constexpr unsigned int kUnknownOut = 0;

template <typename Integer>
std::string text(const std::vector<Integer>& values) {
  std::string joined;
  for (Integer value : values) joined += (joined.empty() ? "" : ", ") + std::to_string(value);
  return "(" + joined + ")";
}

// Makes unknown dimensions of an input unknown ones of an output.
inline void check_data(const std::string& input, Shape* data) {
  for (unsigned int& size : *data) {
    if (size == 0) fail(input, " has a dimension of size 0, shape ", text(*data));
    if (size == kUnknownIn) size = kUnknownOut;
  }
}

// Gives `shape` the dimensions of `wanted` where they are unknown; throws where they differ.
inline void match(const std::string& input, const Shape& wanted, Shape* shape) {
  if (shape->empty()) *shape = Shape(wanted.size(), kUnknownIn);
  bool same = shape->size() == wanted.size();
  for (size_t i = 0; same && i < wanted.size(); ++i) {
    if ((*shape)[i] == kUnknownIn) (*shape)[i] = wanted[i];
    same = wanted[i] == kUnknownOut || (*shape)[i] == wanted[i];
  }
  if (!same) fail(input, " must have shape ", text(wanted), ", got ", text(*shape));
}

inline Arrays::Array array(mxnet::ext::MXTensor* tensor) { return {tensor->data_ptr, tensor->size()}; }

// Runs a program in memory that MXNet lends and uses again with the next call.
inline void execute(const Program& program, const Arrays& arrays, const mxnet::ext::OpResource& resource) {
  const Execution execution(program, arrays);
  if (execution.workspace_bytes() > INT_MAX) fail("needs ", execution.workspace_bytes(), " bytes of memory");
  execution.run(resource.alloc_cpu(static_cast<int>(execution.workspace_bytes())));
}

}  // namespace bmx

#endif  // BMX_TENSORS_H_
