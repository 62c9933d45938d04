// What programs compute, instruction by instruction and value by value.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "float_convolution.h"
#include "map.h"
#include "operations.h"
#include "programs.h"

namespace {

typedef std::map<std::string, Features> Tensors;

Features read(const bmx::Operand& operand, const Tensors& tensors) {
  return slice(tensors.at(operand.kind + std::to_string(operand.index)), operand.begin, operand.end);
}

Features repeat(const Features& in, int64_t channels) {
  Features out(channels, in.size);
  const int64_t length = static_cast<int64_t>(in.values.size());
  for (int64_t i = 0; i < static_cast<int64_t>(out.values.size()); ++i) out.values[i] = in.values[i % length];
  return out;
}

Features apply(const std::vector<bmx::PlannedStep>& steps, Features x, const Tensors& tensors,
               const std::vector<Bytes>& parameters) {
  for (const bmx::PlannedStep& step : steps) {
    if (step.kind == bmx::Step::kPlus) {
      x = add(x, repeat(read(step.addend.operand, tensors), x.channels));
      continue;
    }
    const std::vector<float> values = step.parameter < 0 ? std::vector<float>() : floats_of(parameters[step.parameter]);
    const bool single = values.size() == 1;
    x = by_channel(x, [&](float value, int64_t c) {
      switch (step.kind) {
        case bmx::Step::kMultiply: return value * values[c];
        case bmx::Step::kAdd: return value + values[c];
        case bmx::Step::kNormalize: return (value - values[c]) * values[x.channels + c] + values[2 * x.channels + c];
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

// What an operation computes of its input, given its problem, its parameters and its steps.
typedef std::function<Features(const Features&)> Steps;
struct Meaning {
  Features (*compute)(const void* problem, const Features& in, const std::vector<Bytes>& own, const Steps& steps);
  // Values that are read for one of the result, and those of the padded input, if it is made.
  Cost (*cost)(const void* problem);
};

Features conv(const void* problem, const Features& in, const std::vector<Bytes>& own, const Steps& steps) {
  std::vector<std::vector<float>> others;
  for (size_t i = 1; i < own.size(); ++i) others.push_back(floats_of(own[i]));
  return steps(Convolution(*static_cast<const bmx::Convolution*>(problem), own[0], others).apply(in));
}

Cost conv_cost(const void* problem) {
  const bmx::Convolution& conv = *static_cast<const bmx::Convolution*>(problem);
  const double products = static_cast<double>(conv.products());
  const double comparisons = static_cast<double>(bmx::Packer::comparisons(conv.activation_planes(), conv.counted));
  return {products * static_cast<double>(conv.group_channels() * conv.window.taps()),
          (products + comparisons) * static_cast<double>(conv.channels) *
              static_cast<double>(conv.input().padded().pixels())};
}

Features map(const void* problem, const Features& in, const std::vector<Bytes>&, const Steps& steps) {
  const bmx::Map& map = *static_cast<const bmx::Map*>(problem);
  const bool pooled = map.pool != bmx::Pool::kNone;
  return shuffle(steps(pooled ? pool(in, map.pool, map.window, map.count_pad) : in), map.groups);
}

// For each output fused multiply-adds over channels, rows and columns, in this order.
Features fconv(const void* problem, const Features& in, const std::vector<Bytes>& own, const Steps& steps) {
  const bmx::FloatConvolution& conv = *static_cast<const bmx::FloatConvolution*>(problem);
  const bmx::Window& window = conv.window;
  const std::vector<float> weights = floats_of(own[0]);
  const int64_t lanes = conv.lanes(), depth = conv.depth(), group = conv.group_filters();
  Features out(conv.filters, conv.out());
  for (int64_t o = 0; o < conv.filters; ++o) {
    const int64_t block = o / group * conv.blocks() + o % group / lanes;
    const float* weight = weights.data() + block * depth * lanes + o % group % lanes;
    for (int64_t pixel = 0; pixel < out.size.pixels(); ++pixel) {
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t channel = o / group * conv.group_channels() + k / window.taps(), tap = k % window.taps();
        const int64_t y = pixel / out.size.width * window.stride.height - window.pad.height +
                          tap / window.size.width * window.dilate.height;
        const int64_t x = pixel % out.size.width * window.stride.width - window.pad.width +
                          tap % window.size.width * window.dilate.width;
        sum = std::fma(in.holds(y, x) ? in.at(channel, y, x) : 0.0f, weight[k * lanes], sum);
      }
      out.values[o * out.size.pixels() + pixel] = sum;
    }
  }
  return steps(out);
}

Cost fconv_cost(const void* problem) {
  return {static_cast<double>(static_cast<const bmx::FloatConvolution*>(problem)->depth()), 0};
}

Cost map_cost(const void* problem) {
  return {static_cast<double>(static_cast<const bmx::Map*>(problem)->window.taps()), 0};
}

const std::map<std::string, Meaning> kMeanings = {
    {"conv", {conv, conv_cost}}, {"fconv", {fconv, fconv_cost}}, {"map", {map, map_cost}}};

}  // namespace

Cost cost_of(const bmx::PlannedInstruction& instruction) {
  const Cost cost = kMeanings.at(instruction.operation->name).cost(instruction.problem.get());
  const double outputs = static_cast<double>(instruction.out.values());
  const double inputs = static_cast<double>(instruction.channels() * instruction.in[0].feature.size.pixels());
  return {outputs * cost.work + cost.values + outputs + inputs, outputs + inputs + cost.values};
}

std::vector<Features> interpret(const bmx::Plan& plan, const std::vector<Features>& data,
                                const std::vector<Bytes>& parameters) {
  Tensors tensors;
  for (size_t i = 0; i < data.size(); ++i) tensors.emplace("x" + std::to_string(i), data[i]);
  for (const bmx::PlannedInstruction& instruction : plan.instructions) {
    Features x = read(instruction.in[0].operand, tensors);
    for (size_t i = 1; i < instruction.in.size(); ++i) x = concatenate(x, read(instruction.in[i].operand, tensors));
    x = apply(instruction.before, x, tensors, parameters);
    std::vector<Bytes> own;
    for (int64_t parameter : instruction.parameters) own.push_back(parameters[parameter]);
    x = kMeanings.at(instruction.operation->name)
            .compute(instruction.problem.get(), x, own,
                     [&](const Features& result) { return apply(instruction.steps, result, tensors, parameters); });
    const std::string name = instruction.to.kind + std::to_string(instruction.to.index);
    tensors.erase(name);
    tensors.emplace(name, x);
  }
  std::vector<Features> outputs;
  for (int64_t i = 0; i < plan.num_outputs; ++i) outputs.push_back(tensors.at("y" + std::to_string(i)));
  return outputs;
}
