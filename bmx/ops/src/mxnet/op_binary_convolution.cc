// mx.nd.binary_convolution, mx.sym.binary_convolution: the product of signs of networks in training. The data and the
// weights are floats, which hold signs or whose signs are meant; the product is that of xnor_popcount, the gradients
// are those of gradients.h. With `estimator`, as binarize has it, the gradient of the data is that of what the signs
// are of.
#include <mxnet/lib_api.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "convolutions.h"
#include "execution.h"
#include "gradients.h"
#include "operator.h"
#include "packing.h"
#include "signs.h"
#include "tensors.h"

namespace bmx {
namespace {

struct BinaryConvolutionParameters : ConvolutionParameters {
  explicit BinaryConvolutionParameters(const Attributes& attributes)
      : ConvolutionParameters(attributes), binarizes(attributes.count("estimator") > 0), sign(parse_sign(attributes)) {}

  bool binarizes;  // is the data something else than signs?
  SignParameters sign;
};

struct BinaryConvolution {
  static constexpr const char* kName = "binary_convolution";
  using Types = Dtypes<float>;

  static BinaryConvolutionParameters parse(const Attributes& attributes) {
    check_names(attributes, {"kernel", "stride", "pad", "dilate", "num_filter", "num_group", "pad_value", "estimator",
                             "clip_threshold"});
    return BinaryConvolutionParameters(attributes);
  }

  static Interface interface(const ConvolutionParameters&) { return {{{"data", false}, {"weight", false}}, 1}; }

  static void infer_shapes(const BinaryConvolutionParameters& p, std::vector<Shape>* in, std::vector<Shape>* out) {
    Shape& data = (*in)[0];
    if (data.empty()) return;  // unknown yet: MXNet asks again
    if (p.is_dense() ? data.size() < 2 : data.size() != p.kernel.size() + 2) {
      if (p.is_dense()) fail("data of a dense layer (no kernel) needs 2 or more dimensions, got ", text(data));
      fail("data must have ", p.kernel.size() + 2, " dimensions for kernel ", text(p.kernel), ", got shape ",
           text(data));
    }
    check_data("data", &data);
    std::vector<int64_t> shape(data.begin(), data.end());
    if (shape[0] == kUnknownOut) shape[0] = 1;  // the others do not depend on it
    for (int64_t size : shape) {
      if (size == kUnknownOut) return;
    }
    shape = flat(p, shape);
    const Size size = p.plan(shape, true).instructions[0].out.size;
    Shape weight = {static_cast<unsigned int>(p.conv.filters), static_cast<unsigned int>(shape[1] / p.conv.groups)};
    weight.insert(weight.end(), p.kernel.begin(), p.kernel.end());
    match("weight", weight, &(*in)[1]);
    const std::vector<int64_t> sizes = {size.height, size.width};  // as many of them as the kernel has
    (*out)[0] = {data[0], static_cast<unsigned int>(p.conv.filters)};
    (*out)[0].insert((*out)[0].end(), sizes.end() - p.kernel.size(), sizes.end());
  }

  // Inputs: data, weight.
  template <typename>
  static void forward(const BinaryConvolutionParameters& p, Tensors* in, Tensors* out, const OpResource& resource) {
    const std::vector<int64_t> shape = flat(p, (*in)[0].shape);
    const Plan plan = p.plan(shape, true);
    const int64_t filters = plan.parameters[0].shape[0], taps = p.window().taps(), channels = shape[1] / p.conv.groups;
    std::vector<uint8_t> packed(filters * taps * packed_bytes(channels));
    const Kernel& kernel = current_kernel();
    const auto pack = [&] { pack_weights(kernel, (*in)[1].data<float>(), filters, taps, channels, packed.data()); };
    // Each thread computes images of its own, where there are enough: so none waits for another.
    Team* team = own_team();
    const int64_t images = p.is_dense() ? 1 : shape[0];
    const bool is_small = (*in)[0].size() + (*in)[1].size() <= kSerial;
    const int64_t shares = images < team->size() || is_small ? 1 : team->size();
    Team alone(1);
    std::vector<Arrays> arrays;
    for (int64_t share = 0; share < shares; ++share) {
      const int64_t first = images * share / shares, count = images * (share + 1) / shares - first;
      const auto part = [&](MXTensor* tensor) {
        const int64_t values = tensor->size() / images;
        return Array{tensor->data<float>() + first * values, count * values};
      };
      arrays.push_back(
          {count, {part(&(*in)[0])}, {{packed.data(), static_cast<int64_t>(packed.size())}}, {part(&(*out)[0])}});
    }
    std::vector<Execution> executions;
    int64_t bytes = 0;  // of a share
    for (const Arrays& of_share : arrays) {
      executions.emplace_back(plan, of_share, kernel, shares > 1 ? &alone : team);
      bytes = std::max(bytes, executions.back().workspace_bytes());
    }
    char* memory = static_cast<char*>(borrow(shares * bytes, "image", resource));
    if (shares == 1) {
      is_small ? pack() : team->run(pack);
      return executions[0].run(memory);
    }
    team->run([&] {
      pack();
      const int64_t share = member();
      const Alone scope;
      executions[share].run(memory + share * bytes);
    });
  }

  // Inputs: gradient of the output, data, weight, output. Outputs: gradients of data and weight.
  template <typename>
  static void backward(const BinaryConvolutionParameters& p, Tensors* in, Tensors* out, const OpResource& resource) {
    const std::vector<int64_t> shape = flat(p, (*in)[1].shape);
    const GradientProblem problem = {
        p.is_dense() ? 1 : shape[0],        p.image(shape, true), p.window(), shape[1], p.conv.filters, p.conv.groups,
        static_cast<int>(p.conv.pad_value), !p.is_dense()};
    const Gradients gradients(problem, current_kernel(), own_team());
    gradients.run({(*in)[1].data<float>(), (*in)[2].data<float>(), (*in)[0].data<float>(), (*out)[0].data<float>(),
                   (*out)[1].data<float>()},
                  borrow(gradients.workspace_bytes(), "batch", resource));
    if (p.binarizes) estimate_all(p.sign, (*in)[1].data<float>(), (*in)[1].size(), (*out)[0].data<float>());
  }

 private:
  // From the gradient of the signs of x to that of x, in place.
  static void estimate_all(const SignParameters& sign, const float* x, int64_t size, float* gradient) {
    constexpr int64_t kChunk = 1 << 12;
    const auto work = [&] {
      split(ceil_div(size, kChunk), [&](int64_t chunk) {
        float* of = gradient + chunk * kChunk;
        estimate(sign, of, x + chunk * kChunk, of, std::min(kChunk, size - chunk * kChunk));
      });
    };
    size > kSerial ? own_team()->run(work) : work();
  }

  // A dense layer's further axes are part of the second one.
  static std::vector<int64_t> flat(const ConvolutionParameters& p, std::vector<int64_t> shape) {
    while (p.is_dense() && shape.size() > 2) {
      shape[1] *= shape.back();
      shape.pop_back();
    }
    return shape;
  }
};

// It writes its gradients, as binarize does: see there.
BMX_REGISTER(binary_convolution, BinaryConvolution);

}  // namespace
}  // namespace bmx
