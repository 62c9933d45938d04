// mx.nd.binary_subgraph, mx.sym.binary_subgraph: a program (program.h) as one operator. Inputs are data x0, x1, ...,
// float32 (N, C, H, W), then the parameters p0, p1, ...; outputs are float32 (N, C, H, W).
#include <mxnet/lib_api.h>

#include <memory>
#include <string>
#include <vector>

#include "attributes.h"
#include "execution.h"
#include "plans.h"
#include "report.h"
#include "tensors.h"

namespace bmx {
namespace {

using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;

const char kName[] = "binary_subgraph";
constexpr int64_t kMaxArrays = 65536;

int64_t get_count(const Attributes& attributes, const std::string& name) {
  const int64_t count = get_int(attributes, name, 1);
  if (count < 1 || count > kMaxArrays) fail(name, " must be between 1 and ", kMaxArrays, ", got ", count);
  return count;
}

std::shared_ptr<const Program> parse(const Attributes& attributes) {
  check_names(attributes, {"program", "num_data", "num_outputs"});
  return parsed(get_string(attributes, "program", ""), get_count(attributes, "num_data"),
                get_count(attributes, "num_outputs"));
}

std::string input_name(const Program& program, size_t index) {
  const size_t num_data = program.num_data;
  return index < num_data ? "x" + std::to_string(index) : "p" + std::to_string(index - num_data);
}

Feature data_feature(int64_t channels, int64_t height, int64_t width) {
  return {Layout::kPlanar, channels, {height, width}, 0};
}

// Shapes of all parameters and outputs where those of all data are known, but for the size of the batch.
void infer_shape(Program program, std::vector<Shape>* in, std::vector<Shape>* out) {
  unsigned int images = kUnknownOut;
  bool known = true;
  std::vector<Feature> data;
  for (int64_t i = 0; i < program.num_data; ++i) {
    Shape& shape = (*in)[i];
    const std::string name = input_name(program, i);
    if (shape.empty()) {
      known = false;
      continue;
    }
    if (shape.size() != 4) fail(name, " must have 4 dimensions, got shape ", text(shape));
    check_data(name, &shape);
    for (int dimension = 1; dimension < 4; ++dimension) known = known && shape[dimension] != kUnknownOut;
    if (images != kUnknownOut && shape[0] != kUnknownOut && shape[0] != images) {
      fail("data inputs have batches of ", images, " and ", shape[0], " images");
    }
    if (shape[0] != kUnknownOut) images = shape[0];
    data.push_back(data_feature(shape[1], shape[2], shape[3]));
  }
  if (!known) return;  // MXNet asks again
  infer(data, &program);
  for (int64_t i = 0; i < program.num_data; ++i) (*in)[i][0] = images;
  for (size_t p = 0; p < program.parameters.size(); ++p) {
    const Parameter& parameter = program.parameters[p];
    Shape& shape = (*in)[program.num_data + p];
    const bool single = parameter.may_be_single && parameter.shape.size() == 1 && shape == Shape{1};
    if (single) continue;
    match("p" + std::to_string(p), Shape(parameter.shape.begin(), parameter.shape.end()), &shape);
  }
  for (const Instruction& instruction : program.instructions) {
    if (instruction.out_kind != 'y') continue;
    const Feature& feature = instruction.out;
    (*out)[instruction.out_index] = {images, static_cast<unsigned int>(feature.channels),
                                     static_cast<unsigned int>(feature.size.height),
                                     static_cast<unsigned int>(feature.size.width)};
  }
}

void infer_type(const Program& program, std::vector<int>* in, std::vector<int>* out) {
  for (size_t i = 0; i < in->size(); ++i) {
    const int64_t parameter = static_cast<int64_t>(i) - program.num_data;
    const bool bits = parameter >= 0 && program.parameters[parameter].bits;
    const int wanted = bits ? mxnet::ext::kUint8 : mxnet::ext::kFloat32;
    if ((*in)[i] == -1) (*in)[i] = wanted;
    if ((*in)[i] != wanted) fail(input_name(program, i), " must be ", bits ? "uint8 (packed bits)" : "float32");
  }
  for (int& type : *out) type = mxnet::ext::kFloat32;
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  return guarded(kName, [&] {
    const auto program = parse(attributes);
    *inputs = static_cast<int>(program->num_data + program->parameters.size());
    *outputs = static_cast<int>(program->num_outputs);
  });
}

MXReturnValue infer_types(const Attributes& attributes, std::vector<int>* in, std::vector<int>* out) {
  return guarded(kName, [&] { infer_type(*parse(attributes), in, out); });
}

MXReturnValue infer_shapes(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
  return guarded(kName, [&] { infer_shape(*parse(attributes), in, out); });
}

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                      const mxnet::ext::OpResource& resource) {
  return guarded(kName, [&] {
    const size_t num_data = get_count(attributes, "num_data");
    Arrays arrays;
    arrays.images = (*in)[0].shape[0];
    std::vector<Feature> data;
    for (size_t i = 0; i < in->size(); ++i) {
      (i < num_data ? arrays.data : arrays.parameters).push_back(array(&(*in)[i]));
      const std::vector<int64_t>& shape = (*in)[i].shape;
      if (i < num_data) data.push_back(data_feature(shape[1], shape[2], shape[3]));
    }
    for (MXTensor& tensor : *out) arrays.outputs.push_back(array(&tensor));
    execute(*planned(get_string(attributes, "program", ""), arrays.outputs.size(), data), arrays, resource);
  });
}

REGISTER_OP(binary_subgraph)
    .setForward(forward, "cpu")
    .setBackward(no_gradient<kName>, "cpu")
    .setParseAttrs(parse_attributes)
    .setInferType(infer_types)
    .setInferShape(infer_shapes);

}  // namespace
}  // namespace bmx
