// mx.nd.channelwise, mx.sym.channelwise: a product with one value a channel, of all data (kind 'scale') or of what is
// not positive (kind 'prelu'), with its gradients. MXNet's broadcasting operators compute the same; their backward
// takes as long as a convolution.
#include <mxnet/lib_api.h>

#include <algorithm>
#include <string>

#include "attributes.h"
#include "kernels.h"
#include "operator.h"

namespace bmx {
namespace {

constexpr int64_t kRun = 1 << 10;  // elements summed up in their own type, the rest in float64

template <typename T>
const ChannelProducts<T>& products();
template <>
const ChannelProducts<float>& products() {
  return current_kernel().elementwise.floats;
}
template <>
const ChannelProducts<double>& products() {
  return current_kernel().elementwise.doubles;
}

// Data (N, C, ...) as planes of one channel each, none where there are no values.
struct Planes {
  int64_t count, channels, length;
  bool single;  // one value for all channels

  Planes(const MXTensor& data, const MXTensor& values) : channels(data.shape[1]), single(values.size() == 1) {
    count = data.size() ? data.shape[0] * channels : 0;
    length = count ? data.size() / count : 0;
  }
  int64_t value_of(int64_t plane) const { return single ? 0 : plane % channels; }
  bool large() const { return count * length > kSerial; }
};

struct Channelwise {
  static constexpr const char* kName = "channelwise";
  using Types = Dtypes<float, double>;

  // Is it 'prelu'?
  static bool parse(const Attributes& attributes) {
    check_names(attributes, {"kind"});
    const std::string kind = get_string(attributes, "kind", "");
    if (kind != "scale" && kind != "prelu") fail("kind must be 'scale' or 'prelu', got '", kind, "'");
    return kind == "prelu";
  }

  static Interface interface(bool) { return {{{"data", false}, {"values", false}}, 1}; }

  static void infer_shapes(bool, std::vector<Shape>* in, std::vector<Shape>* out) {
    Shape &data = (*in)[0], &values = (*in)[1];
    const bool known = data.size() > 1 && data[1] != kUnknownIn && !values.empty() && values[0] != kUnknownIn;
    check_data("data", &data, data.size());
    check_data("values", &values, values.size());
    if (!data.empty() && data.size() < 2) fail("data must have at least 2 dimensions, got shape ", text(data));
    if (!data.empty() && !values.empty() && (values.size() != 1 || (known && values[0] != 1 && values[0] != data[1]))) {
      fail("values must have shape (1) or (", data[1], "), got ", text(values));
    }
    (*out)[0] = data;
  }

  // Inputs: data, values.
  template <typename T>
  static void forward(bool prelu, Tensors* in, Tensors* out, const OpResource&) {
    const T *x = (*in)[0].data<T>(), *values = (*in)[1].data<T>();
    T* result = (*out)[0].data<T>();
    const Planes planes((*in)[0], (*in)[1]);
    const ChannelProducts<T>& own = products<T>();
#pragma omp parallel for if (planes.large()) schedule(static)
    for (int64_t plane = 0; plane < planes.count; ++plane) {
      const T* from = x + plane * planes.length;
      const T value = values[planes.value_of(plane)];
      T* to = result + plane * planes.length;
      if (prelu) own.multiply_below(from, from, value, planes.length, to);
      else own.multiply(from, value, planes.length, to);
    }
  }

  // Inputs: gradient of the output, data, values, output. Outputs: gradients of data and values.
  template <typename T>
  static void backward(bool prelu, Tensors* in, Tensors* out, const OpResource&) {
    const T *gradient = (*in)[0].data<T>(), *x = (*in)[1].data<T>(), *values = (*in)[2].data<T>();
    T *result = (*out)[0].data<T>(), *value_result = (*out)[1].data<T>();
    const Planes planes((*in)[1], (*in)[2]);
    const ChannelProducts<T>& own = products<T>();
    std::vector<double> sums(planes.count);
#pragma omp parallel for if (planes.large()) schedule(static)
    for (int64_t plane = 0; plane < planes.count; ++plane) {
      const T *from = x + plane * planes.length, *above = gradient + plane * planes.length;
      const T value = values[planes.value_of(plane)];
      for (int64_t i = 0; i < planes.length; i += kRun) {
        sums[plane] += own.sum_products(from + i, above + i, prelu, std::min(kRun, planes.length - i));
      }
      T* to = result + plane * planes.length;
      if (prelu) own.multiply_below(from, above, value, planes.length, to);
      else own.multiply(above, value, planes.length, to);
    }
    std::vector<double> totals((*in)[2].size());
    for (int64_t plane = 0; plane < planes.count; ++plane) totals[planes.value_of(plane)] += sums[plane];
    std::copy(totals.begin(), totals.end(), value_result);
  }
};

BMX_REGISTER(channelwise, Channelwise);

}  // namespace
}  // namespace bmx
