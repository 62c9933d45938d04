// What the operators that binarize share: attributes, types, borders, the sign and the gradients in its place.
#ifndef BMX_SIGNS_H_
#define BMX_SIGNS_H_

#include <mxnet/lib_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "attributes.h"
#include "dtypes.h"
#include "half.h"
#include "kernels.h"
#include "tensors.h"

namespace bmx {

using SignDtypes = Dtypes<Half, float, double>;

enum class Estimator { kClip, kPolynomial };

struct SignParameters {
  Estimator estimator;
  double clip_threshold;
  std::vector<int64_t> pad;  // at both ends of each of the last axes, at most 2
  int64_t pad_value;
};

inline SignParameters parse_sign(const Attributes& attributes) {
  SignParameters p;
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

// Makes unknown dimensions of the data unknown ones of an output; returns the shape with the border.
inline Shape padded_shape(const SignParameters& p, Shape* data) {
  const bool padded = std::any_of(p.pad.begin(), p.pad.end(), [](int64_t each) { return each > 0; });
  check_data("data", data, padded ? data->size() - p.pad.size() : data->size());
  Shape shape = *data;
  int64_t pixels = 1;
  for (size_t i = 1; i <= p.pad.size(); ++i) {
    unsigned int& dimension = shape[shape.size() - i];
    if (dimension == kUnknownOut) continue;
    const int64_t padded = padded_size(dimension, p.pad[p.pad.size() - i], p.pad, &pixels);
    dimension = static_cast<unsigned int>(padded);
  }
  return shape;
}

// How the elements of the data lie in the output: planes of rows, each plane with a border.
struct Geometry {
  int64_t size;  // elements of the data
  int64_t planes, height, width;
  int64_t border_y, border_x;

  // Without a border there are planes of one row, `row` elements.
  Geometry(const SignParameters& p, const mxnet::ext::MXTensor& data, int64_t row) : size(data.size()) {
    const auto& shape = data.shape;
    border_x = p.pad.empty() ? 0 : p.pad.back();
    border_y = p.pad.size() < 2 ? 0 : p.pad.front();
    width = padded() ? shape.back() : row;
    height = padded() && p.pad.size() == 2 ? shape[shape.size() - 2] : 1;
    planes = size ? ceil_div(size, height * width) : 0;
  }

  bool padded() const { return border_y || border_x; }
  int64_t padded_width() const { return width + 2 * border_x; }
  int64_t padded_plane() const { return (height + 2 * border_y) * padded_width(); }
  // Where row y of a plane begins in the output.
  int64_t outer(int64_t plane, int64_t y) const {
    return plane * padded_plane() + (border_y + y) * padded_width() + border_x;
  }
};

template <typename T>
void sign(const T* x, T* out, int64_t length) {
  const T plus = T(1.0f), minus = T(-1.0f);
  for (int64_t i = 0; i < length; ++i) out[i] = x[i] >= 0 ? plus : minus;
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

// `out` becomes the gradient of the data x, given that of the signs.
template <typename T>
void estimate(const SignParameters& p, const T* gradient, const T* x, T* out, int64_t length) {
  if (p.estimator == Estimator::kClip) {
    clip_gradient(gradient, x, static_cast<T>(p.clip_threshold), out, length);
  } else {
    polynomial_gradient(gradient, x, out, length);
  }
}

}  // namespace bmx

#endif  // BMX_SIGNS_H_
