// mx.nd.binarize, mx.sym.binarize: sign with a straight-through gradient, one pass over memory each way.
// A NaN gives -1 and no gradient. The signs can be written with a border around their last axes, as a convolution wants
// them, which spares a copy.
#include <mxnet/lib_api.h>

#include <algorithm>

#include "attributes.h"
#include "operator.h"
#include "signs.h"

namespace bmx {
namespace {

constexpr int64_t kChunk = 1 << 12;  // elements in a row where rows do not matter

// For each plane, in parallel: calls begin(plane), then row(offset in the data, offset in the output, length) for each
// row.
template <typename Begin, typename Row>
void for_each_row(const Geometry& g, const Begin& begin, const Row& row) {
#pragma omp parallel for if (g.size > kSerial) schedule(static)
  for (int64_t plane = 0; plane < g.planes; ++plane) {
    begin(plane);
    for (int64_t y = 0; y < g.height; ++y) {
      const int64_t inner = (plane * g.height + y) * g.width;
      row(inner, g.outer(plane, y), std::min(g.width, g.size - inner));
    }
  }
}

struct Binarize {
  static constexpr const char* kName = "binarize";
  using Types = SignDtypes;

  static SignParameters parse(const Attributes& attributes) {
    check_names(attributes, {"estimator", "clip_threshold", "pad", "pad_value"});
    return parse_sign(attributes);
  }

  static Interface interface(const SignParameters&) { return {{{"data", false}}, 1}; }

  static void infer_shapes(const SignParameters& p, std::vector<Shape>* in, std::vector<Shape>* out) {
    Shape& data = (*in)[0];
    if (!data.empty() && data.size() < p.pad.size()) fail("pad of ", p.pad.size(), " axes for data of ", data.size());
    (*out)[0] = data.empty() ? data : padded_shape(p, &data);
  }

  template <typename T>
  static void forward(const SignParameters& p, Tensors* in, Tensors* out, const OpResource&) {
    const T* x = (*in)[0].data<T>();
    T* result = (*out)[0].data<T>();
    const Geometry g(p, (*in)[0], kChunk);
    const T border = T(static_cast<float>(p.pad_value));
    const auto fill_border = [&](int64_t plane) {
      if (g.padded()) std::fill_n(result + plane * g.padded_plane(), g.padded_plane(), border);
    };
    for_each_row(g, fill_border,
                 [&](int64_t inner, int64_t outer, int64_t length) { sign(x + inner, result + outer, length); });
  }

  // Inputs: gradient of the output, data, output.
  template <typename T>
  static void backward(const SignParameters& p, Tensors* in, Tensors* out, const OpResource&) {
    const T *gradient = (*in)[0].data<T>(), *x = (*in)[1].data<T>();
    T* result = (*out)[0].data<T>();
    const Geometry g(p, (*in)[1], kChunk);
    for_each_row(
        g, [](int64_t) {},
        [&](int64_t inner, int64_t outer, int64_t length) {
          estimate(p, gradient + outer, x + inner, result + inner, length);
        });
  }
};

// MXNet does not tell a library's operator whether to write or to add its gradient, so it always writes. `identity`
// before its inputs can add: bmx/ops/calls.py puts it there.
BMX_REGISTER(binarize, Binarize);

}  // namespace
}  // namespace bmx
