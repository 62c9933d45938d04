// mx.nd.xnor_popcount, mx.sym.xnor_popcount: a program of one conv. Here are its attributes and types, and what is
// an image where there is none.
#include <mxnet/lib_api.h>

#include <string>
#include <vector>

#include "attributes.h"
#include "execution.h"
#include "operation_conv.h"
#include "operator.h"
#include "plan.h"
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

struct Parameters {
  std::vector<int64_t> kernel, stride, pad, dilate;
  ConvWords conv;                   // but for its window
  std::vector<std::string> inputs;  // behind the data
  int64_t channels;                 // of the data; 0: as many as the packed weights can be of
};

void check_tuple(const char* name, const std::vector<int64_t>& values, int64_t least, size_t dimensions) {
  if (!values.empty() && values.size() != dimensions) {
    fail(name, " ", text(values), " must have as many numbers as kernel, ", dimensions);
  }
  for (int64_t value : values) {
    check_range(name, value, least);
  }
}

// A dense layer's batch is one image whose pixels are the rows, unless each row has scales of its own.
bool is_one_image(const Parameters& p) { return p.kernel.empty() && p.conv.binarizations == 1; }

// The plan of `p` over data of `shape`, whose dimensions are all known and as many as `p` wants: one convolution.
Plan plan(const Parameters& p, const std::vector<int64_t>& shape) {
  const auto size = [](const std::vector<int64_t>& values, int64_t missing) {
    return Size{values.size() == 2 ? values[0] : missing, values.empty() ? missing : values.back()};
  };
  const bool dense = p.kernel.empty();
  ConvWords words = p.conv;
  words.window = {size(p.kernel, 1), size(p.stride, 1), size(p.pad, 0), size(p.dilate, 1)};
  Instruction instruction;
  set_conv(words, &instruction);
  instruction.in = {{'x', 0, 0, shape[1]}};
  instruction.out.layout = dense ? Layout::kFloats : Layout::kPlanar;
  const Size image = {shape.size() == 4 ? shape[2] : 1, is_one_image(p) ? shape[0] : dense ? 1 : shape.back()};
  return infer(Program({instruction}, 1, 1), {{instruction.out.layout, shape[1], image, 0}});
}

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
  const Plan planned = plan(p, shape);
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
    Parameters p;
    ConvWords& conv = p.conv;
    p.kernel = get_tuple(attributes, "kernel");
    p.stride = get_tuple(attributes, "stride");
    p.pad = get_tuple(attributes, "pad");
    p.dilate = get_tuple(attributes, "dilate");
    if (p.kernel.size() > 2) fail("kernel must have 1 or 2 numbers, or none for a dense layer, got ", text(p.kernel));
    check_tuple("kernel", p.kernel, 1, p.kernel.size());
    check_tuple("stride", p.stride, 1, p.kernel.size());
    check_tuple("dilate", p.dilate, 1, p.kernel.size());
    check_tuple("pad", p.pad, 0, p.kernel.size());
    if (!attributes.count("num_filter")) fail("num_filter is required");
    conv.filters = get_int(attributes, "num_filter", 0);
    conv.groups = get_int(attributes, "num_group", 1);
    check_range("num_filter", conv.filters, 1);
    if (conv.groups < 1 || conv.filters % conv.groups) {
      fail("num_group must divide num_filter, got num_group ", conv.groups, " and num_filter ", conv.filters);
    }
    if (p.kernel.empty() && conv.groups != 1) fail("a dense layer (no kernel) has num_group 1, got ", conv.groups);
    conv.pad_value = get_int(attributes, "pad_value", -1);
    if (conv.pad_value < -1 || conv.pad_value > 1) fail("pad_value must be -1, 0 or 1, got ", conv.pad_value);
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
    arrays.images = is_one_image(p) ? 1 : (*in)[0].shape[0];
    arrays.data = {array(&(*in)[0])};
    for (size_t i = 1; i < in->size(); ++i) arrays.parameters.push_back(array(&(*in)[i]));
    arrays.outputs = {array(&(*out)[0])};
    execute(plan(p, (*in)[0].shape), arrays, resource);
  }
};

BMX_REGISTER(xnor_popcount, XnorPopcount);

}  // namespace
}  // namespace bmx
