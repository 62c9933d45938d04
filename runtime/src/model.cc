#include "model.h"

#include <algorithm>
#include <utility>

#include "error.h"
#include "expansion.h"
#include "memory.h"

namespace bmx {
namespace {

int64_t values(const Shape& shape) {
  int64_t product = 1;
  for (int64_t size : shape) product *= size;
  return product;
}

const std::string& name(const FileParameter& parameter) {
  return parameter.array ? parameter.array->name : parameter.expansion->name;
}

// A data input of the program, (channels, height, width).
Feature feature(const Shape& input, bool flat) {
  const Size size = flat ? Size{1, 1} : Size{input[2], input[3]};
  return {Layout::kPlanar, input[1], size, 0};
}

// The instruction that writes an output of the program.
const PlannedInstruction& writer(const Plan& plan, int64_t output) {
  return *std::find_if(plan.instructions.begin(), plan.instructions.end(), [=](const PlannedInstruction& instruction) {
    return instruction.to.kind == 'y' && instruction.to.index == output;
  });
}

}  // namespace

Model::Model(ModelFiles files)
    : files_(std::move(files)), program_(parse_program(files_.program, 1, files_.num_outputs)) {
  for (int64_t output = 0; output < files_.num_outputs; ++output) {
    if (std::count(files_.heads.begin(), files_.heads.end(), output) != 1) {
      fail("output ", output, " of its program is not one of the model, or several");
    }
  }
  if (files_.parameters.size() != program_.parameters.size()) {
    fail("it has ", files_.parameters.size(), " parameters, its program ", program_.parameters.size());
  }
  for (const FileParameter& parameter : files_.parameters) add_parameter(parameter);
  const Shape input = input_shape();
  plan_ = plan(input);
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const PlannedParameter& planned = plan_->parameters[i];
    if (shapes_[i] == planned.shape || (planned.kind.may_be_single && shapes_[i] == Shape{1})) continue;
    fail("parameter ", name(files_.parameters[i]), " has shape ", text(shapes_[i]), ", not ", text(planned.shape));
  }
  const Shape output = output_shape(*plan_, 1, 0);
  const std::vector<std::string>& classes = metadata().classes;
  if (!classes.empty() && static_cast<int64_t>(classes.size()) != output.back()) {
    fail("it has ", classes.size(), " names of classes and outputs of shape ", text(output));
  }
}

void Model::add_parameter(const FileParameter& parameter) {
  const bool bits = program_.parameters[parameters_.size()].bits;
  if (parameter.array) {
    const FileArray& array = *parameter.array;
    if (array.bits != bits) fail("parameter ", array.name, " is not ", bits ? "uint8" : "float32");
    parameters_.push_back({const_cast<void*>(array.values), array.size});
    shapes_.push_back(array.shape);
    return;
  }
  const FileArray &levels = *parameter.expansion->levels, &codes = *parameter.expansion->codes;
  const Expansion expansion(parameter.expansion->attributes);
  expansion.check_levels(levels.shape);
  if (bits || levels.bits || !codes.bits || codes.shape != expansion.codes_shape()) {
    fail("levels and codes of parameter ", name(parameter), " do not fit its shape");
  }
  const int64_t size = values(expansion.shape());
  expanded_.push_back(allocate<float>(size));
  expansion.run(static_cast<const float*>(levels.values), levels.shape, static_cast<const uint8_t*>(codes.values),
                expanded_.back().get());
  parameters_.push_back({expanded_.back().get(), size});
  shapes_.push_back(expansion.shape());
}

Shape Model::input_shape() const {
  Shape shape = {1};
  shape.insert(shape.end(), metadata().input_shape.begin(), metadata().input_shape.end());
  return shape;
}

std::shared_ptr<const Plan> Model::plan(const Shape& input) const {
  const Shape known = input_shape();
  if (known.size() != (files_.flat ? 2 : 4)) fail("its inputs cannot be of shape ", text(known));
  if (input.size() != known.size()) fail("an input has shape ", text(input), ", not one like ", text(known));
  for (size_t i = 0; i < input.size(); ++i) {
    const int64_t least = i == 0 ? 0 : 1;
    if (input[i] < least || input[i] > kMaxValues) {
      fail("an input cannot have shape ", text(input), ": ", i == 0 ? "the number of images" : "each size",
           " must be from ", least, " to ", kMaxValues);
    }
  }
  if (plan_ && std::equal(input.begin() + 1, input.end(), known.begin() + 1)) return plan_;
  try {
    const std::vector<int64_t>& channels = files_.channels;
    if (!channels.empty() && input[1] != channels[0]) {
      const bool last = input.back() == channels[0];
      fail("it has ", channels[0], " channels", last ? ", which come second: (N, channels, height, width)" : "");
    }
    return std::make_shared<const Plan>(infer(program_, {feature(input, files_.flat)}));
  } catch (const Error& error) {
    fail("the model does not take an input of shape ", text(input), ": ", error.what());
  }
}

Shape Model::output_shape(const Plan& plan, int64_t images, int64_t index) const {
  const PlannedInstruction& instruction = writer(plan, files_.heads[index]);
  const Feature& feature = instruction.out;
  if (instruction.to.flat) return {images, feature.values()};
  return {images, feature.channels, feature.size.height, feature.size.width};
}

Arrays Model::arrays(const Plan& plan, int64_t images, const float* input, float* const* outputs) const {
  Arrays arrays;
  arrays.images = images;
  arrays.data = {{const_cast<float*>(input), images * plan.data[0].values()}};
  arrays.parameters = parameters_;
  arrays.outputs.resize(files_.heads.size());
  for (size_t i = 0; i < files_.heads.size(); ++i) {
    arrays.outputs[files_.heads[i]] = {outputs[i], images * writer(plan, files_.heads[i]).out.values()};
  }
  return arrays;
}

}  // namespace bmx
