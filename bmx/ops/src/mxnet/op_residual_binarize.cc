// mx.nd.residual_binarize, mx.sym.residual_binarize: several binarizations of each sample (Tang et al., "How to Train a
// Compact Binary Neural Network with High Accuracy?", AAAI 2017, Equation 4).
//
//   E_1 = data,  H_i = sign(E_i),  alpha_i = mean |E_i| over the sample,  E_(i+1) = E_i - alpha_i H_i
//
// Outputs: the signs H_1, H_2, ... stacked along the batch axis, with a border as `binarize` has it, and the scales
// alpha, (binarizations, batch). The order of additions in a mean is part of the contract, because deployed networks
// compute the same bits: in float64, each channel's pixels in row-major order, then the channels' sums in their order.
// The gradient of the data is that of the first term's signs divided by alpha_1, as long as the layer behind multiplies
// each term with its alpha: that is the gradient of its approximated input. Others are not passed on.
#include <mxnet/lib_api.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <vector>

#include "attributes.h"
#include "denormals.h"
#include "operator.h"
#include "signs.h"

namespace bmx {
namespace {

constexpr int64_t kBlock = 8;      // channels that are added up in turns: one alone waits for each addition
constexpr int64_t kSegment = 256;  // adjacent pixels of a block that stay in the L1 cache

struct Parameters {
  SignParameters sign;
  int64_t terms;
};

// The data, (samples, channels, ...), as rows of pixels.
struct Samples {
  int64_t samples, channels, pixels;
  Geometry geometry;

  Samples(const SignParameters& p, const MXTensor& data)
      : samples(data.shape[0]),
        channels(data.shape[1]),
        pixels(data.size() / std::max<int64_t>(1, samples * channels)),
        geometry(p, data, pixels) {}

  int64_t planes() const { return pixels / (geometry.height * geometry.width); }  // of a channel
  int64_t blocks() const { return ceil_div(channels, kBlock); }
  int64_t padded_size() const { return geometry.planes * geometry.padded_plane(); }
};

// The residual after the terms with these scales, of adjacent values.
template <typename T>
void subtract_terms(const T* x, const T* scales, int64_t terms, T* residual, int64_t length) {
  std::copy(x, x + length, residual);
  for (int64_t term = 0; term < terms; ++term) {
    const T alpha = scales[term], minus = T(-alpha);
    // one sum with either sign, because compilers do not make a vector of two of which one is taken
    for (int64_t i = 0; i < length; ++i) residual[i] = T(residual[i] + (residual[i] >= 0 ? minus : alpha));
  }
}

// The term behind those with these scales, of up to `kBlock` channels: writes its signs, returns in `sums` the
// channels' sums of magnitudes.
template <typename T>
void binarize_block(const Samples& s, const T* x, const T* scales, int64_t terms, int64_t first, int64_t count,
                    T border, T* signs, double* sums) {
  const Geometry& g = s.geometry;
  T residual[kBlock][kSegment];
  for (int64_t c = count; c < kBlock; ++c) std::fill_n(residual[c], kSegment, T(0.0f));
  double totals[kBlock] = {};
  for (int64_t each = 0; each < s.planes(); ++each) {
    if (g.padded()) {
      for (int64_t c = 0; c < count; ++c) {
        std::fill_n(signs + ((first + c) * s.planes() + each) * g.padded_plane(), g.padded_plane(), border);
      }
    }
    for (int64_t y = 0; y < g.height; ++y) {
      for (int64_t begin = 0; begin < g.width; begin += kSegment) {
        const int64_t length = std::min(kSegment, g.width - begin);
        for (int64_t c = 0; c < count; ++c) {
          const int64_t plane = (first + c) * s.planes() + each;
          subtract_terms(x + (plane * g.height + y) * g.width + begin, scales, terms, residual[c], length);
          sign(residual[c], signs + g.outer(plane, y) + begin, length);
        }
        for (int64_t i = 0; i < length; ++i) {
          for (int64_t c = 0; c < kBlock; ++c) totals[c] += std::fabs(static_cast<double>(residual[c][i]));
        }
      }
    }
  }
  std::copy(totals, totals + count, sums);
}

struct ResidualBinarize {
  static constexpr const char* kName = "residual_binarize";
  using Types = SignDtypes;

  static Parameters parse(const Attributes& attributes) {
    check_names(attributes, {"binarizations", "estimator", "clip_threshold", "pad", "pad_value"});
    return {parse_sign(attributes), get_planes(attributes, "binarizations")};
  }

  static Interface interface(const Parameters&) { return {{{"data", false}}, 2}; }

  static void infer_shapes(const Parameters& p, std::vector<Shape>* in, std::vector<Shape>* out) {
    Shape& data = (*in)[0];
    if (data.empty()) {
      (*out)[0] = (*out)[1] = data;
      return;
    }
    if (data.size() < 2) fail("data must have a batch axis and at least one more, got shape ", text(data));
    if (data.size() < p.sign.pad.size() + 2) {
      fail("pad of ", p.sign.pad.size(), " axes for data of ", data.size(), ", of which two are batch and channels");
    }
    check_data("data", &data, 1);  // a sample without values has no mean
    const int64_t images = p.terms * data[0];
    if (images > INT_MAX) fail(p.terms, " binarizations of ", data[0], " samples are too many");
    Shape& signs = (*out)[0] = padded_shape(p.sign, &data);
    signs[0] = static_cast<unsigned int>(images);
    (*out)[1] = {static_cast<unsigned int>(p.terms), data[0]};
  }

  template <typename T>
  static void forward(const Parameters& p, Tensors* in, Tensors* out, const OpResource&) {
    const T* x = (*in)[0].data<T>();
    T *signs = (*out)[0].data<T>(), *scales = (*out)[1].data<T>();
    const Samples s(p.sign, (*in)[0]);
    const T border = T(static_cast<float>(p.sign.pad_value));
    std::vector<double> sums(s.samples * s.channels);
#pragma omp parallel if (s.geometry.size > kSerial)
    {
      const ExactDenormals exact;
      T earlier[kMaxBinarizations];  // scales of a sample
      for (int64_t term = 0; term < p.terms; ++term) {
#pragma omp for schedule(static)
        for (int64_t task = 0; task < s.samples * s.blocks(); ++task) {
          const int64_t sample = task / s.blocks(), first = sample * s.channels + task % s.blocks() * kBlock;
          const int64_t count = std::min(kBlock, (sample + 1) * s.channels - first);
          for (int64_t i = 0; i < term; ++i) earlier[i] = scales[i * s.samples + sample];
          binarize_block(s, x, earlier, term, first, count, border, signs + term * s.padded_size(), &sums[first]);
        }
#pragma omp for schedule(static)
        for (int64_t sample = 0; sample < s.samples; ++sample) {
          double total = 0;
          for (int64_t c = 0; c < s.channels; ++c) total += sums[sample * s.channels + c];
          scales[term * s.samples + sample] = static_cast<T>(total / static_cast<double>(s.channels * s.pixels));
        }
      }
    }
  }

  // Inputs: gradients of the signs and of the scales, data, signs, scales.
  template <typename T>
  static void backward(const Parameters& p, Tensors* in, Tensors* out, const OpResource&) {
    const T *gradient = (*in)[0].data<T>(), *x = (*in)[2].data<T>(), *scales = (*in)[4].data<T>();
    T* result = (*out)[0].data<T>();
    const Samples s(p.sign, (*in)[2]);
    const Geometry& g = s.geometry;
#pragma omp parallel for if (g.size > kSerial) schedule(static)
    for (int64_t plane = 0; plane < g.planes; ++plane) {
      const ExactDenormals exact;
      const T alpha = scales[plane / (s.channels * s.planes())];
      for (int64_t y = 0; y < g.height; ++y) {
        for (int64_t begin = 0; begin < g.width; begin += kSegment) {
          const int64_t inner = (plane * g.height + y) * g.width + begin, outer = g.outer(plane, y) + begin;
          const int64_t length = std::min(kSegment, g.width - begin);
          T scaled[kSegment];
          for (int64_t i = 0; i < length; ++i) scaled[i] = T(gradient[outer + i] / alpha);
          if (alpha == 0) std::fill_n(scaled, length, T(0.0f));
          estimate(p.sign, scaled, x + inner, result + inner, length);
        }
      }
    }
  }
};

// It writes its gradient, as binarize does: see there.
BMX_REGISTER(residual_binarize, ResidualBinarize);

}  // namespace
}  // namespace bmx
