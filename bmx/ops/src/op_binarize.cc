// mx.nd.binarize, mx.sym.binarize: sign with a straight-through gradient, one pass over memory each way.
// A NaN gives -1 and no gradient.
#include <mxnet/lib_api.h>

#include <climits>
#include <cmath>
#include <cstring>
#include <string>

#include "attributes.h"
#include "report.h"

namespace bmx {
namespace {

using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using Shape = std::vector<unsigned int>;

const char kName[] = "binarize";
constexpr int64_t kSerial = 1 << 15;  // elements below which starting threads costs more than it saves

enum class Estimator { kClip, kPolynomial };

struct Parameters {
  Estimator estimator;
  double clip_threshold;
};

Parameters parse(const Attributes& attributes) {
  check_names(attributes, {"estimator", "clip_threshold"});
  Parameters p;
  const std::string estimator = get_string(attributes, "estimator", "clip");
  if (estimator != "clip" && estimator != "polynomial") {
    fail("estimator must be 'clip' or 'polynomial', got '", estimator, "'");
  }
  p.estimator = estimator == "clip" ? Estimator::kClip : Estimator::kPolynomial;
  p.clip_threshold = get_double(attributes, "clip_threshold", 1.3);
  if (!(p.clip_threshold >= 0)) fail("clip_threshold must be at least 0, got ", p.clip_threshold);
  return p;
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// IEEE 754 half precision: arithmetic is done in float, then rounded to nearest even.
struct Half {
  uint16_t bits;

  Half() = default;
  Half(float value) : bits(round(value)) {}  // NOLINT: converts like the built-in types
  operator float() const {
    const uint32_t magnitude = bits & 0x7fff;
    const float value = magnitude < 0x400    ? static_cast<float>(magnitude) * 0.000000059604644775390625f  // 2^-24
                        : magnitude < 0x7c00 ? from_bits((magnitude << 13) + (112u << 23))
                                             : from_bits(magnitude << 13 | 0x7f800000);
    return bits & 0x8000 ? -value : value;
  }

 private:
  static uint16_t round(float value) {
    const uint32_t all = bits_of(value), magnitude = all & 0x7fffffff, sign = all >> 16 & 0x8000;
    if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
    if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and above: infinity
    // below 2^-14 the last bit is 2^-24, as it is in a float next to 0.5
    if (magnitude < 0x38800000) return sign | (bits_of(from_bits(magnitude) + 0.5f) - bits_of(0.5f));
    return sign | ((magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13);
  }
};

template <typename T>
void sign(const T* x, T* out, int64_t size) {
  const T plus = T(1.0f), minus = T(-1.0f);
#pragma omp parallel for if (size > kSerial) schedule(static)
  for (int64_t i = 0; i < size; ++i) out[i] = x[i] >= 0 ? plus : minus;
}

template <typename T>
void clip_gradient(const T* gradient, const T* x, T limit, T* out, int64_t size) {
#pragma omp parallel for if (size > kSerial) schedule(static)
  for (int64_t i = 0; i < size; ++i) out[i] = x[i] <= limit && x[i] >= -limit ? gradient[i] : T(0.0f);
}

// Bi-Real-Net, Liu et al., ECCV 2018.
template <typename T>
void polynomial_gradient(const T* gradient, const T* x, T* out, int64_t size) {
#pragma omp parallel for if (size > kSerial) schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    const T slope = T(2 - 2 * std::fabs(x[i]));
    out[i] = slope >= 0 ? T(slope * gradient[i]) : T(0.0f);
  }
}

template <typename T>
void run_forward(std::vector<MXTensor>* in, std::vector<MXTensor>* out) {
  sign((*in)[0].data<T>(), (*out)[0].data<T>(), (*in)[0].size());
}

// Inputs: gradient of the output, data, output.
template <typename T>
void run_backward(const Parameters& p, std::vector<MXTensor>* in, std::vector<MXTensor>* out) {
  const T *gradient = (*in)[0].data<T>(), *x = (*in)[1].data<T>();
  T* result = (*out)[0].data<T>();
  if (p.estimator == Estimator::kClip) {
    clip_gradient(gradient, x, static_cast<T>(p.clip_threshold), result, (*in)[1].size());
  } else {
    polynomial_gradient(gradient, x, result, (*in)[1].size());
  }
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  return guarded(kName, [&] {
    parse(attributes);
    *inputs = *outputs = 1;
  });
}

MXReturnValue infer_types(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  return guarded(kName, [&] {
    const int type = (*in)[0];
    if (type != -1 && type != mxnet::ext::kFloat16 && type != mxnet::ext::kFloat32 && type != mxnet::ext::kFloat64) {
      fail("data must be float16, float32 or float64");
    }
    (*out)[0] = type;
  });
}

MXReturnValue infer_shapes(const Attributes&, std::vector<Shape>* in, std::vector<Shape>* out) {
  for (unsigned int& dimension : (*in)[0]) {
    if (dimension == UINT_MAX) dimension = 0;  // unknown: -1 on the way in, 0 on the way out
  }
  (*out)[0] = (*in)[0];
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue forward(const Attributes&, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                      const mxnet::ext::OpResource&) {
  return guarded(kName, [&] {
    switch ((*in)[0].dtype) {
      case mxnet::ext::kFloat16: return run_forward<Half>(in, out);
      case mxnet::ext::kFloat64: return run_forward<double>(in, out);
      default: return run_forward<float>(in, out);
    }
  });
}

MXReturnValue backward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                       const mxnet::ext::OpResource&) {
  return guarded(kName, [&] {
    const Parameters p = parse(attributes);
    switch ((*in)[1].dtype) {
      case mxnet::ext::kFloat16: return run_backward<Half>(p, in, out);
      case mxnet::ext::kFloat64: return run_backward<double>(p, in, out);
      default: return run_backward<float>(p, in, out);
    }
  });
}

// MXNet does not tell a library's operator whether to write or to add its gradient, so it always writes. For an array
// with grad_req='add' the network has to put `identity` before it, which can add.
REGISTER_OP(binarize)
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu")
    .setParseAttrs(parse_attributes)
    .setInferType(infer_types)
    .setInferShape(infer_shapes);

}  // namespace
}  // namespace bmx
