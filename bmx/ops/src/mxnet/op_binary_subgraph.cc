// mx.nd.binary_subgraph, mx.sym.binary_subgraph: a program (program.h) as one operator. Inputs are data x0, x1, ...,
// float32 (N, C, H, W), then the parameters p0, p1, ...; outputs are float32 (N, C, H, W), flat ones (N, C * H * W).
#include <mxnet/lib_api.h>

#include <memory>
#include <string>
#include <vector>

#include "attributes.h"
#include "cache.h"
#include "execution.h"
#include "operator.h"
#include "tensors.h"

namespace bmx {
namespace {

constexpr int64_t kMaxArrays = 65536;

int64_t get_count(const Attributes& attributes, const std::string& name) {
  const int64_t count = get_int(attributes, name, 1);
  if (count < 1 || count > kMaxArrays) fail(name, " must be between 1 and ", kMaxArrays, ", got ", count);
  return count;
}

struct Parameters {
  std::string text;
  std::shared_ptr<const Program> program;  // of `text`
  std::vector<int64_t> channels;           // of the data inputs; empty: any that the program can read
};

Feature data_feature(int64_t channels, int64_t height, int64_t width) {
  return {Layout::kPlanar, channels, {height, width}, 0};
}

std::string data_name(int64_t index) { return "x" + std::to_string(index); }

struct BinarySubgraph : Deployed {
  static constexpr const char* kName = "binary_subgraph";

  static Parameters parse(const Attributes& attributes) {
    check_names(attributes, {"program", "num_data", "num_outputs", "channels"});
    const std::string program = get_string(attributes, "program", "");
    const int64_t num_data = get_count(attributes, "num_data");
    const std::vector<int64_t> channels = get_tuple(attributes, "channels");
    if (!channels.empty() && static_cast<int64_t>(channels.size()) != num_data) {
      fail("channels ", text(channels), " must have a number for each of ", num_data, " data inputs");
    }
    return {program, parsed(program, num_data, get_count(attributes, "num_outputs")), channels};
  }

  static Interface interface(const Parameters& p) {
    Interface found = {{}, static_cast<size_t>(p.program->num_outputs)};
    for (int64_t i = 0; i < p.program->num_data; ++i) found.inputs.push_back({data_name(i), false});
    for (const Parameter& parameter : p.program->parameters) {
      found.inputs.push_back({"p" + std::to_string(found.inputs.size() - p.program->num_data), parameter.bits});
    }
    return found;
  }

  // Shapes of all parameters and outputs where those of all data are known, but for the size of the batch.
  static void infer_shapes(const Parameters& p, std::vector<Shape>* in, std::vector<Shape>* out) {
    unsigned int images = kUnknownOut;
    bool known = true;
    std::vector<Feature> data;
    for (int64_t i = 0; i < p.program->num_data; ++i) {
      Shape& shape = (*in)[i];
      const std::string name = data_name(i);
      if (shape.empty()) {
        known = false;
        continue;
      }
      if (shape.size() != 4) fail(name, " must have 4 dimensions, got shape ", text(shape));
      check_data(name, &shape);
      if (!p.channels.empty() && shape[1] != kUnknownOut && shape[1] != p.channels[i]) {
        fail(name, " must have ", p.channels[i], " channels, got shape ", text(shape));
      }
      for (int dimension = 1; dimension < 4; ++dimension) known = known && shape[dimension] != kUnknownOut;
      if (images != kUnknownOut && shape[0] != kUnknownOut && shape[0] != images) {
        fail("data inputs have batches of ", images, " and ", shape[0], " images");
      }
      if (shape[0] != kUnknownOut) images = shape[0];
      data.push_back(data_feature(shape[1], shape[2], shape[3]));
    }
    if (!known) return;  // MXNet asks again
    const auto plan = planned(p.text, p.program->num_outputs, data);
    for (int64_t i = 0; i < p.program->num_data; ++i) (*in)[i][0] = images;
    for (size_t i = 0; i < plan->parameters.size(); ++i) {
      const PlannedParameter& parameter = plan->parameters[i];
      Shape& shape = (*in)[p.program->num_data + i];
      if (parameter.kind.may_be_single && shape == Shape{1}) continue;
      match("p" + std::to_string(i), Shape(parameter.shape.begin(), parameter.shape.end()), &shape);
    }
    for (const PlannedInstruction& instruction : plan->instructions) {
      if (instruction.to.kind != 'y') continue;
      const Feature& feature = instruction.out;
      std::vector<int64_t> sizes = {feature.channels, feature.size.height, feature.size.width};
      if (instruction.to.flat) sizes = {feature.values()};
      Shape& shape = (*out)[instruction.to.index];
      shape = {images};
      shape.insert(shape.end(), sizes.begin(), sizes.end());
    }
  }

  template <typename>
  static void forward(const Parameters& p, Tensors* in, Tensors* out, const OpResource& resource) {
    const size_t num_data = p.program->num_data;
    Arrays arrays;
    arrays.images = (*in)[0].shape[0];
    std::vector<Feature> data;
    for (size_t i = 0; i < in->size(); ++i) {
      (i < num_data ? arrays.data : arrays.parameters).push_back(array(&(*in)[i]));
      const std::vector<int64_t>& shape = (*in)[i].shape;
      if (i < num_data) data.push_back(data_feature(shape[1], shape[2], shape[3]));
    }
    for (MXTensor& tensor : *out) arrays.outputs.push_back(array(&tensor));
    execute(*planned(p.text, p.program->num_outputs, data), arrays, resource);
  }
};

BMX_REGISTER(binary_subgraph, BinarySubgraph);

}  // namespace
}  // namespace bmx
