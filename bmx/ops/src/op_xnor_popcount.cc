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

struct Parameters {
  std::vector<int64_t> kernel, stride, pad, dilate;
  int64_t filters, groups;
  int pad_value;
  bool threshold;
  int64_t binarizations;
  int64_t channels;  // of the data; 0: as many as the packed weights can be of
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
bool is_one_image(const Parameters& p) { return p.kernel.empty() && p.binarizations == 1; }

// The plan of `p` over data of `shape`, whose dimensions are all known and as many as `p` wants: one convolution.
Plan plan(const Parameters& p, const std::vector<int64_t>& shape) {
  const auto size = [](const std::vector<int64_t>& values, int64_t missing) {
    return Size{values.size() == 2 ? values[0] : missing, values.empty() ? missing : values.back()};
  };
  const bool dense = p.kernel.empty();
  ConvWords words;
  words.window = {size(p.kernel, 1), size(p.stride, 1), size(p.pad, 0), size(p.dilate, 1)};
  words.filters = p.filters;
  words.groups = p.groups;
  words.pad_value = p.pad_value;
  words.binarizations = p.binarizations;
  Instruction instruction;
  set_conv(words, 0, p.threshold ? 1 : -1, &instruction);
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
  const std::vector<int64_t>& weight = planned.parameters[0].shape;
  const std::vector<int64_t> sizes = {size.height, size.width};
  Shape wanted = {static_cast<unsigned int>(p.filters)};
  wanted.insert(wanted.end(), weight.end() - 1 - p.kernel.size(), weight.end());
  match("weight", wanted, &(*in)[1]);
  if (p.threshold) match("threshold", {2, data[1]}, &(*in)[2]);
  *out = {data[0], static_cast<unsigned int>(p.filters)};
  out->insert(out->end(), sizes.end() - p.kernel.size(), sizes.end());
}

struct XnorPopcount : Deployed {
  static constexpr const char* kName = "xnor_popcount";

  static Parameters parse(const Attributes& attributes) {
    check_names(attributes, {"kernel", "stride", "pad", "dilate", "num_filter", "num_group", "pad_value", "threshold",
                             "binarizations", "channels"});
    Parameters p;
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
    p.filters = get_int(attributes, "num_filter", 0);
    p.groups = get_int(attributes, "num_group", 1);
    check_range("num_filter", p.filters, 1);
    if (p.groups < 1 || p.filters % p.groups) {
      fail("num_group must divide num_filter, got num_group ", p.groups, " and num_filter ", p.filters);
    }
    if (p.kernel.empty() && p.groups != 1) fail("a dense layer (no kernel) has num_group 1, got ", p.groups);
    const int64_t pad_value = get_int(attributes, "pad_value", -1);
    if (pad_value < -1 || pad_value > 1) fail("pad_value must be -1, 0 or 1, got ", pad_value);
    p.pad_value = static_cast<int>(pad_value);
    p.threshold = get_bool(attributes, "threshold", false);
    p.binarizations = get_binarizations(attributes);
    p.channels = get_int(attributes, "channels", 0);
    check_range("channels", p.channels, 0);
    if (p.binarizations > 1 && p.threshold) fail("a threshold is of one binarization, got ", p.binarizations);
    return p;
  }

  static Interface interface(const Parameters& p) {
    Interface found = {{{"data", false}, {"weight", true}}, 1};
    if (p.threshold) found.inputs.push_back({"threshold", false});
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
