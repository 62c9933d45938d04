// What the operators have in common: MXNet's shapes and arrays.
#ifndef BMX_TENSORS_H_
#define BMX_TENSORS_H_

#include <mxnet/lib_api.h>
#include <omp.h>

#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attributes.h"
#include "error.h"
#include "execution.h"
#include "residual.h"

namespace bmx {

using Shape = std::vector<unsigned int>;

// MXNet hands an unknown dimension over as -1 cast to unsigned; 0 given back means unknown.
constexpr unsigned int kUnknownIn = UINT_MAX;
constexpr unsigned int kUnknownOut = 0;

// Makes unknown dimensions of an input unknown ones of an output. Those from `first` on may not be empty.
inline void check_data(const std::string& input, Shape* data, size_t first = 0) {
  for (size_t i = 0; i < data->size(); ++i) {
    unsigned int& size = (*data)[i];
    if (size == 0 && i >= first) fail(input, " has a dimension of size 0, shape ", text(*data));
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

// `size` with `pad` at both ends. `pixels`: the product of such sizes so far, which this one joins. `pads` is for the
// message.
inline int64_t padded_size(int64_t size, int64_t pad, const std::vector<int64_t>& pads, int64_t* pixels) {
  const int64_t padded = size + 2 * pad;
  *pixels *= padded;  // at most 2^33 times 2^31: no overflow
  if (*pixels > INT_MAX) fail("padded data of ", *pixels, " pixels is too large, pad ", text(pads));
  return padded;
}

// An attribute that counts planes of bits, `binarizations` for example.
inline int64_t get_planes(const Attributes& attributes, const std::string& name) {
  const int64_t planes = get_int(attributes, name, 1);
  if (planes < 1 || planes > kMaxPlanes) fail(name, " must be between 1 and ", kMaxPlanes, ", got ", planes);
  return planes;
}

inline Array array(mxnet::ext::MXTensor* tensor) { return {tensor->data_ptr, tensor->size()}; }

// The threads of this one, as many as MXNet computes with here.
inline Team* own_team() {
  thread_local std::unique_ptr<Team> team;
  const int threads = omp_get_max_threads();
  if (!team || team->size() != threads) team.reset(new Team(threads));
  return team.get();
}

// Memory that MXNet lends and uses again with the next call, for a `whole` image or batch.
inline void* borrow(int64_t bytes, const char* whole, const mxnet::ext::OpResource& resource) {
  if (bytes > INT_MAX) {
    fail("needs ", bytes, " bytes for one ", whole, ", MXNet lends at most ", INT_MAX, "; use a smaller ", whole);
  }
  return resource.alloc_cpu(static_cast<int>(bytes));
}

inline void execute(const Plan& plan, const Arrays& arrays, const mxnet::ext::OpResource& resource) {
  const Execution execution(plan, arrays, current_kernel(), own_team());
  execution.run(borrow(execution.workspace_bytes(), "image", resource));
}

}  // namespace bmx

#endif  // BMX_TENSORS_H_
