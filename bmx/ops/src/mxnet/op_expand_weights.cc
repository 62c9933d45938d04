// mx.nd.expand_weights, mx.sym.expand_weights: float weights of codes of few bits, each of which stands for one of few
// levels. A layer whose weights have few values, but whose input is float, is stored so.
#include <mxnet/lib_api.h>

#include <algorithm>
#include <climits>

#include "attributes.h"
#include "operator.h"

namespace bmx {
namespace {

constexpr int64_t kMaxBits = 8;
constexpr int64_t kMaxLanes = 16;  // as `pack_float_weights` of bmx/ops/packing.py orders weights

struct ExpandParameters {
  std::vector<int64_t> shape;  // of the weights, filters first
  int64_t bits;
  int64_t groups;  // 0: the result has that shape; else it is ordered as by `pack_float_weights` for so many groups
  int64_t size;

  int64_t taps() const { return size / shape[0]; }                           // weights of a filter
  int64_t filters() const { return groups ? shape[0] / groups : shape[0]; }  // of a group
  int64_t lanes() const {
    int64_t found = 1;
    while (found < std::min(filters(), kMaxLanes)) found *= 2;
    return found;
  }
  int64_t blocks() const { return (filters() + lanes() - 1) / lanes(); }
  // Where the first weight of a filter lies in the result, and how far the next one is from it.
  int64_t begin(int64_t filter) const {
    if (!groups) return filter * taps();
    const int64_t group = filter / filters(), own = filter % filters();
    return (group * blocks() + own / lanes()) * taps() * lanes() + own % lanes();
  }
  int64_t step() const { return groups ? lanes() : 1; }

  Shape result() const {
    if (!groups) return Shape(shape.begin(), shape.end());
    return {static_cast<unsigned>(groups), static_cast<unsigned>(blocks()), static_cast<unsigned>(taps()),
            static_cast<unsigned>(lanes())};
  }
};

struct ExpandWeights : Deployed {
  static constexpr const char* kName = "expand_weights";

  static ExpandParameters parse(const Attributes& attributes) {
    check_names(attributes, {"shape", "bits", "groups"});
    ExpandParameters p{get_tuple(attributes, "shape"), get_int(attributes, "bits", 1), get_int(attributes, "groups", 0),
                       1};
    if (p.shape.size() < 2 || p.shape.size() > 5) fail("shape must have 2 to 5 dimensions, got ", text(p.shape));
    for (int64_t length : p.shape) {
      check_range("a dimension of shape", length, 1);
      p.size *= length;
      if (p.size > INT_MAX / kMaxLanes)
        fail("weights of shape ", text(p.shape), " are too many");  // lanes are filled up
    }
    if (p.bits < 1 || p.bits > kMaxBits) fail("bits must be between 1 and ", kMaxBits, ", got ", p.bits);
    if (p.groups < 0 || (p.groups && p.shape[0] % p.groups)) {
      fail("groups must be 0 or divide the ", p.shape[0], " filters, got ", p.groups);
    }
    return p;
  }

  static Interface interface(const ExpandParameters&) { return {{{"levels", false}, {"codes", true}}, 1}; }

  static void infer_shapes(const ExpandParameters& p, std::vector<Shape>* in, std::vector<Shape>* out) {
    Shape& levels = (*in)[0];
    check_data("levels", &levels);
    bool fits = levels.empty() || levels.size() == p.shape.size() + 1;
    for (size_t i = 0; fits && i < levels.size(); ++i) {
      const int64_t most = i ? p.shape[i - 1] : int64_t{1} << p.bits;
      fits = levels[i] == kUnknownOut || levels[i] == most || (i && levels[i] == 1);
    }
    if (!fits) {
      fail("levels must have shape (", 1 << p.bits, ") and then 1 or the size of each of ", text(p.shape), ", got ",
           text(levels));
    }
    match("codes", {static_cast<unsigned>(p.bits), static_cast<unsigned>((p.size + 7) / 8)}, &(*in)[1]);
    (*out)[0] = p.result();
  }

  // Inputs: levels, codes.
  template <typename T>
  static void forward(const ExpandParameters& p, Tensors* in, Tensors* out, const OpResource&) {
    const T* levels = (*in)[0].data<T>();
    const uint8_t* codes = (*in)[1].data<uint8_t>();
    const std::vector<int64_t>& has = (*in)[0].shape;
    const size_t axes = p.shape.size();
    // How far the level of the next index along each axis is: 0 where all have the same.
    std::vector<int64_t> steps(axes);
    int64_t columns = 1;
    for (size_t axis = axes; axis-- > 0;) {
      steps[axis] = has[axis + 1] > 1 ? columns : 0;
      columns *= has[axis + 1];
    }
    std::vector<int64_t> column(p.taps());  // of each weight of filter 0
    for (int64_t tap = 0; tap < p.taps(); ++tap) {
      int64_t rest = tap;
      for (size_t axis = axes; axis-- > 1; rest /= p.shape[axis]) column[tap] += rest % p.shape[axis] * steps[axis];
    }
    const int64_t plane = (p.size + 7) / 8;
    T* result = (*out)[0].data<T>();
    std::fill_n(result, (*out)[0].size(), T(0));  // lanes beyond the last filter
#pragma omp parallel for if (p.size > kSerial) schedule(static)
    for (int64_t filter = 0; filter < p.shape[0]; ++filter) {
      T* to = result + p.begin(filter);
      const T* own = levels + filter * steps[0];
      for (int64_t tap = 0; tap < p.taps(); ++tap, to += p.step()) {
        const int64_t i = filter * p.taps() + tap;
        int64_t code = 0;
        for (int64_t bit = 0; bit < p.bits; ++bit) code |= int64_t{codes[bit * plane + i / 8] >> i % 8 & 1} << bit;
        *to = own[code * columns + column[tap]];
      }
    }
  }
};

BMX_REGISTER(expand_weights, ExpandWeights);

}  // namespace
}  // namespace bmx
