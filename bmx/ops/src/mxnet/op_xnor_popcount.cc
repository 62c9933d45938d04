// mx.nd.xnor_popcount, mx.sym.xnor_popcount: a program of one conv. Here are its attributes and types.
#include <mxnet/lib_api.h>

#include <string>
#include <vector>

#include "attributes.h"
#include "convolutions.h"
#include "execution.h"
#include "operator.h"
#include "tensors.h"

namespace bmx {
namespace {

// The inputs behind the data, in their order, and where a convolution has their numbers.
struct NamedParameter {
  const char* name;
  int64_t ConvWords::*number;
};
constexpr NamedParameter kOptional[] = {
    {"threshold", &ConvWords::threshold}, {"scales", &ConvWords::scales}, {"weight_scales", &ConvWords::weight_scales}};

struct Parameters : ConvolutionParameters {
  using ConvolutionParameters::ConvolutionParameters;

  std::vector<std::string> inputs;  // behind the data
  int64_t channels = 0;             // of the data; 0: as many as the packed weights can be of

  // Unless each row of a dense layer has scales of its own.
  bool is_one_image() const { return is_dense() && conv.binarizations == 1; }
};

void infer_shape(const Parameters& p, std::vector<Shape>* in, Shape* out) {
  Shape& data = (*in)[0];
  if (data.empty()) return;  // unknown yet: MXNet asks again
  if (p.kernel.empty() && data.size() != 2) fail("data of a dense layer (no kernel) must be 2-D, got ", text(data));
  if (data.size() != p.kernel.size() + 2) {
    fail("data must have ", p.kernel.size() + 2, " dimensions for kernel ", text(p.kernel), ", got shape ", text(data));
  }
  check_data("data", &data);
  if (p.channels && data[1] != kUnknownOut && data[1] != p.channels) {
    fail("data must have ", p.channels, " channels, got shape ", text(data));
  }
  std::vector<int64_t> shape(data.begin(), data.end());
  if (shape[0] == kUnknownOut) shape[0] = 1;  // the others do not depend on it
  for (int64_t size : shape) {
    if (size == kUnknownOut) return;
  }
  const Plan planned = p.plan(shape, p.is_one_image());
  // of the two dimensions of an image those that the kernel has
  const Size size = planned.instructions[0].out.size;
  const std::vector<int64_t> sizes = {size.height, size.width};
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    const std::vector<int64_t>& shape = planned.parameters[i].shape;
    Shape wanted(shape.begin(), shape.end());
    if (i == 0) wanted.erase(wanted.begin() + 1, wanted.end() - 1 - p.kernel.size());
    match(p.inputs[i], wanted, &(*in)[1 + i]);
  }
  *out = {data[0], static_cast<unsigned int>(p.conv.filters)};
  out->insert(out->end(), sizes.end() - p.kernel.size(), sizes.end());
}

struct XnorPopcount : Deployed {
  static constexpr const char* kName = "xnor_popcount";

  static Parameters parse(const Attributes& attributes) {
    check_names(attributes, {"kernel", "stride", "pad", "dilate", "num_filter", "num_group", "pad_value", "threshold",
                             "binarizations", "planes", "counted", "zero_one", "scales", "weight_planes",
                             "weight_scales", "channels"});
    Parameters p(attributes);
    ConvWords& conv = p.conv;
    conv.binarizations = get_planes(attributes, "binarizations");
    conv.planes = get_planes(attributes, "planes");
    conv.counted = get_bool(attributes, "counted", false);
    conv.zero_one = get_bool(attributes, "zero_one", false);
    conv.weight_planes = get_planes(attributes, "weight_planes");
    p.inputs = {"weight"};
    for (const NamedParameter& parameter : kOptional) {
      if (!get_bool(attributes, parameter.name, false)) continue;
      conv.*parameter.number = static_cast<int64_t>(p.inputs.size());
      p.inputs.push_back(parameter.name);
    }
    p.channels = get_int(attributes, "channels", 0);
    check_range("channels", p.channels, 0);
    Instruction instruction;
    set_conv(conv, &instruction);  // throws where these do not go together
    return p;
  }

  static Interface interface(const Parameters& p) {
    Interface found = {{{"data", false}}, 1};
    for (const std::string& name : p.inputs) found.inputs.push_back({name, name == "weight"});
    return found;
  }

  static void infer_shapes(const Parameters& p, std::vector<Shape>* in, std::vector<Shape>* out) {
    infer_shape(p, in, &(*out)[0]);
  }

  template <typename>
  static void forward(const Parameters& p, Tensors* in, Tensors* out, const OpResource& resource) {
    Arrays arrays;
    arrays.images = p.is_one_image() ? 1 : (*in)[0].shape[0];
    arrays.data = {array(&(*in)[0])};
    for (size_t i = 1; i < in->size(); ++i) arrays.parameters.push_back(array(&(*in)[i]));
    arrays.outputs = {array(&(*out)[0])};
    execute(p.plan((*in)[0].shape, p.is_one_image()), arrays, resource);
  }
};

BMX_REGISTER(xnor_popcount, XnorPopcount);

}  // namespace
}  // namespace bmx
