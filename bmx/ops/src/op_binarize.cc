// mx.nd.binarize, mx.sym.binarize: sign with a straight-through gradient, one pass over memory each way.
// A NaN gives -1 and no gradient. The signs can be written with a border around their last axes, as a convolution wants
// them, which spares a copy.
#include <mxnet/lib_api.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "attributes.h"
#include "report.h"
#include "tensors.h"

namespace bmx {
namespace {

using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;

const char kName[] = "binarize";
constexpr int64_t kSerial = 1 << 15;  // elements below which starting threads costs more than it saves
constexpr int64_t kChunk = 1 << 12;   // elements in a row where rows do not matter

enum class Estimator { kClip, kPolynomial };

struct Parameters {
  Estimator estimator;
  double clip_threshold;
  std::vector<int64_t> pad;  // at both ends of each of the last axes, at most 2
  int64_t pad_value;
};

Parameters parse(const Attributes& attributes) {
  check_names(attributes, {"estimator", "clip_threshold", "pad", "pad_value"});
  Parameters p;
  const std::string estimator = get_string(attributes, "estimator", "clip");
  if (estimator != "clip" && estimator != "polynomial") {
    fail("estimator must be 'clip' or 'polynomial', got '", estimator, "'");
  }
  p.estimator = estimator == "clip" ? Estimator::kClip : Estimator::kPolynomial;
  p.clip_threshold = get_double(attributes, "clip_threshold", 1.3);
  if (!(p.clip_threshold >= 0)) fail("clip_threshold must be at least 0, got ", p.clip_threshold);
  p.pad = get_tuple(attributes, "pad");
  if (p.pad.size() > 2) fail("pad must have one or two numbers, got ", p.pad.size());
  for (int64_t each : p.pad) check_range("pad", each, 0);
  p.pad_value = get_int(attributes, "pad_value", -1);
  if (p.pad_value < -1 || p.pad_value > 1) fail("pad_value must be -1, 0 or 1, got ", p.pad_value);
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

// How the elements of the data lie in the output: planes of rows, each plane with a border.
struct Geometry {
  int64_t size;  // elements of the data
  int64_t planes, height, width;
  int64_t border_y, border_x;

  bool padded() const { return border_y || border_x; }
  int64_t padded_width() const { return width + 2 * border_x; }
  int64_t padded_plane() const { return (height + 2 * border_y) * padded_width(); }
};

Geometry geometry(const Parameters& p, const MXTensor& data) {
  const auto& shape = data.shape;
  Geometry g;
  g.size = data.size();
  g.border_x = p.pad.empty() ? 0 : p.pad.back();
  g.border_y = p.pad.size() < 2 ? 0 : p.pad.front();
  g.width = g.padded() ? shape.back() : kChunk;
  g.height = g.padded() && p.pad.size() == 2 ? shape[shape.size() - 2] : 1;
  g.planes = g.size ? (g.size + g.height * g.width - 1) / (g.height * g.width) : 0;
  return g;
}

// For each plane, in parallel: calls begin(plane), then row(offset in the data, offset in the output, length) for each
// row.
template <typename Begin, typename Row>
void for_each_row(const Geometry& g, const Begin& begin, const Row& row) {
#pragma omp parallel for if (g.size > kSerial) schedule(static)
  for (int64_t plane = 0; plane < g.planes; ++plane) {
    begin(plane);
    for (int64_t y = 0; y < g.height; ++y) {
      const int64_t inner = (plane * g.height + y) * g.width;
      const int64_t outer = plane * g.padded_plane() + (g.border_y + y) * g.padded_width() + g.border_x;
      row(inner, outer, std::min(g.width, g.size - inner));
    }
  }
}

template <typename T>
void sign(const T* x, T* out, int64_t length) {
  const T plus = T(1.0f), minus = T(-1.0f);
  for (int64_t i = 0; i < length; ++i) out[i] = x[i] >= 0 ? plus : minus;
}

template <typename T>
void run_forward(const Parameters& p, std::vector<MXTensor>* in, std::vector<MXTensor>* out) {
  const T* x = (*in)[0].data<T>();
  T* result = (*out)[0].data<T>();
  const Geometry g = geometry(p, (*in)[0]);
  const T border = T(static_cast<float>(p.pad_value));
  const auto fill_border = [&](int64_t plane) {
    if (g.padded()) std::fill_n(result + plane * g.padded_plane(), g.padded_plane(), border);
  };
  for_each_row(g, fill_border, [&](int64_t inner, int64_t outer, int64_t length) {
    sign(x + inner, result + outer, length);
  });
}

// Each reads the gradient before it decides, so that compilers make it branchless.
template <typename T>
void clip_gradient(const T* gradient, const T* x, T limit, T* out, int64_t length) {
  for (int64_t i = 0; i < length; ++i) {
    const T g = gradient[i];
    out[i] = (x[i] <= limit) & (x[i] >= -limit) ? g : T(0.0f);
  }
}

// Bi-Real-Net, Liu et al., ECCV 2018.
template <typename T>
void polynomial_gradient(const T* gradient, const T* x, T* out, int64_t length) {
  for (int64_t i = 0; i < length; ++i) {
    const T slope = T(2 - 2 * std::fabs(x[i]));
    const T product = T(slope * gradient[i]);
    out[i] = slope >= 0 ? product : T(0.0f);
  }
}

// Inputs: gradient of the output, data, output.
template <typename T>
void run_backward(const Parameters& p, std::vector<MXTensor>* in, std::vector<MXTensor>* out) {
  const T *gradient = (*in)[0].data<T>(), *x = (*in)[1].data<T>();
  T* result = (*out)[0].data<T>();
  const T limit = static_cast<T>(p.clip_threshold);
  for_each_row(geometry(p, (*in)[1]), [](int64_t) {}, [&](int64_t inner, int64_t outer, int64_t length) {
    if (p.estimator == Estimator::kClip) {
      clip_gradient(gradient + outer, x + inner, limit, result + inner, length);
    } else {
      polynomial_gradient(gradient + outer, x + inner, result + inner, length);
    }
  });
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

MXReturnValue infer_shapes(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
  return guarded(kName, [&] {
    const Parameters p = parse(attributes);
    for (unsigned int& dimension : (*in)[0]) {
      if (dimension == kUnknownIn) dimension = kUnknownOut;
    }
    Shape& shape = (*out)[0] = (*in)[0];
    if (shape.empty()) return;
    if (shape.size() < p.pad.size()) fail("pad of ", p.pad.size(), " axes for data of ", shape.size());
    int64_t pixels = 1;
    for (size_t i = 1; i <= p.pad.size(); ++i) {
      unsigned int& dimension = shape[shape.size() - i];
      if (dimension == kUnknownOut) continue;
      const int64_t padded = padded_size(dimension, p.pad[p.pad.size() - i], p.pad, &pixels);
      dimension = static_cast<unsigned int>(padded);
    }
  });
}

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                      const mxnet::ext::OpResource&) {
  return guarded(kName, [&] {
    const Parameters p = parse(attributes);
    switch ((*in)[0].dtype) {
      case mxnet::ext::kFloat16: return run_forward<Half>(p, in, out);
      case mxnet::ext::kFloat64: return run_forward<double>(p, in, out);
      default: return run_forward<float>(p, in, out);
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
