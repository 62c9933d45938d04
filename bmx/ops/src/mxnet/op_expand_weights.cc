// mx.nd.expand_weights, mx.sym.expand_weights: the weights of expansion.h. Inputs: levels, codes.
#include <mxnet/lib_api.h>

#include "expansion.h"
#include "operator.h"
#include "tensors.h"

namespace bmx {
namespace {

Shape mxnet_shape(const std::vector<int64_t>& shape) { return Shape(shape.begin(), shape.end()); }

struct ExpandWeights : Deployed {
  static constexpr const char* kName = "expand_weights";

  static Expansion parse(const Attributes& attributes) { return Expansion(attributes); }

  static Interface interface(const Expansion&) { return {{{"levels", false}, {"codes", true}}, 1}; }

  static void infer_shapes(const Expansion& expansion, std::vector<Shape>* in, std::vector<Shape>* out) {
    Shape& levels = (*in)[0];
    check_data("levels", &levels);
    if (!levels.empty()) expansion.check_levels({levels.begin(), levels.end()});
    match("codes", mxnet_shape(expansion.codes_shape()), &(*in)[1]);
    (*out)[0] = mxnet_shape(expansion.shape());
  }

  template <typename T>
  static void forward(const Expansion& expansion, Tensors* in, Tensors* out, const OpResource&) {
    const auto compute = [&] {
      expansion.run((*in)[0].data<T>(), (*in)[0].shape, (*in)[1].data<uint8_t>(), (*out)[0].data<T>());
    };
    expansion.size() > kSerial ? own_team()->run(compute) : compute();
  }
};

BMX_REGISTER(expand_weights, ExpandWeights);

}  // namespace
}  // namespace bmx
