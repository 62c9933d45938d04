// What programs compute, instruction by instruction and value by value.
#include <algorithm>
#include <map>

#include "programs.h"

namespace {

typedef std::map<std::string, Features> Tensors;

Features read(const bmx::Operand& operand, const Tensors& tensors) {
  return slice(tensors.at(operand.kind + std::to_string(operand.index)), operand.begin, operand.end);
}

Features apply(const std::vector<bmx::StepText>& steps, Features x, const Tensors& tensors,
               const std::vector<Bytes>& parameters) {
  for (const bmx::StepText& step : steps) {
    if (step.kind == bmx::Step::kPlus) {
      x = add(x, read(step.addend, tensors));
      continue;
    }
    const std::vector<float> values = step.parameter < 0 ? std::vector<float>() : floats_of(parameters[step.parameter]);
    const bool single = values.size() == 1;
    x = by_channel(x, [&](float value, int64_t c) {
      switch (step.kind) {
        case bmx::Step::kMultiply: return value * values[c];
        case bmx::Step::kAdd: return value + values[c];
        case bmx::Step::kNormalize:
          return (value - values[c]) * values[x.channels + c] + values[2 * x.channels + c];
        case bmx::Step::kParametricRectify: return value > 0 ? value : value * values[single ? 0 : c];
        default: return value <= 0 ? 0 : value;
      }
    });
  }
  return x;
}

// Channel i of group j becomes channel i * groups + j.
Features shuffle(const Features& in, int64_t groups) {
  Features out = in;
  const int64_t pixels = in.size.pixels(), group = in.channels / groups;
  for (int64_t c = 0; c < in.channels; ++c) {
    std::copy_n(&in.values[c * pixels], pixels, &out.values[(c % group * groups + c / group) * pixels]);
  }
  return out;
}

}  // namespace

std::vector<Features> interpret(const bmx::Program& program, const std::vector<Features>& data,
                                const std::vector<Bytes>& parameters) {
  Tensors tensors;
  for (size_t i = 0; i < data.size(); ++i) tensors.emplace("x" + std::to_string(i), data[i]);
  for (const bmx::Instruction& instruction : program.instructions) {
    Features x = read(instruction.in[0], tensors);
    for (size_t i = 1; i < instruction.in.size(); ++i) x = concatenate(x, read(instruction.in[i], tensors));
    if (instruction.kind == bmx::Instruction::kConvolution) {
      std::vector<float> threshold;
      if (instruction.threshold >= 0) threshold = floats_of(parameters[instruction.threshold]);
      x = Convolution(instruction, parameters[instruction.weight], threshold).apply(x);
      x = apply(instruction.steps, x, tensors, parameters);
    } else {
      x = apply(instruction.before, x, tensors, parameters);
      if (instruction.pool != bmx::Pool::kNone) x = pool(x, instruction.pool, instruction.window);
      x = shuffle(apply(instruction.steps, x, tensors, parameters), instruction.groups);
    }
    const std::string name = instruction.out_kind + std::to_string(instruction.out_index);
    tensors.erase(name);
    tensors.emplace(name, x);
  }
  std::vector<Features> outputs;
  for (int64_t i = 0; i < program.num_outputs; ++i) outputs.push_back(tensors.at("y" + std::to_string(i)));
  return outputs;
}
