#include "execution.h"

#include <omp.h>

#include <algorithm>
#include <memory>

#include "convolution.h"
#include "denormals.h"
#include "error.h"
#include "grouped.h"
#include "map.h"
#include "profile.h"

namespace bmx {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 48;
constexpr double kSerialWork = 20000;  // below this many words and values starting threads costs more than it saves

Convolution convolution(const Instruction& instruction) {
  return {instruction.image,   instruction.window, instruction.channels,
          instruction.filters, instruction.groups, instruction.pad_value,
          instruction.binarizations};
}

Map map(const Instruction& instruction) {
  return {instruction.image, instruction.pool, instruction.window, instruction.groups};
}

// Word operations, or values touched, for one image.
double work(const Instruction& instruction) {
  double values = static_cast<double>(instruction.out.size.pixels()) * instruction.out.channels;
  if (instruction.kind == Instruction::kConvolution) {
    return values * convolution(instruction).depth() * instruction.binarizations;
  }
  return instruction.pool == Pool::kNone ? values : values * instruction.window.taps();
}

// Throws where an array has not the `wanted` size.
void check_size(char kind, size_t index, const Arrays::Array& array, int64_t wanted) {
  if (array.size != wanted) fail(kind, index, " must have ", wanted, " values, got ", array.size);
}

// Throws where the arrays are not those of the program.
void check_arrays(const Program& program, const Arrays& arrays) {
  if (arrays.data.size() != program.data.size() || arrays.parameters.size() != program.parameters.size() ||
      static_cast<int64_t>(arrays.outputs.size()) != program.num_outputs || arrays.images < 0) {
    fail("arrays of another program");
  }
  for (size_t i = 0; i < arrays.data.size(); ++i) {
    check_size('x', i, arrays.data[i], arrays.images * program.data[i].values());
  }
  for (size_t i = 0; i < arrays.parameters.size(); ++i) {
    const Parameter& parameter = program.parameters[i];
    int64_t wanted = 1;
    for (int64_t size : parameter.shape) wanted *= size;
    const bool single = parameter.may_be_single && parameter.shape.size() == 1 && arrays.parameters[i].size == 1;
    if (!single) check_size('p', i, arrays.parameters[i], wanted);
  }
  for (const Instruction& instruction : program.instructions) {
    if (instruction.out_kind != 'y') continue;
    check_size('y', instruction.out_index, arrays.outputs[instruction.out_index],
               arrays.images * instruction.out.values());
  }
}

// One instruction, ready to run.
struct Task {
  std::unique_ptr<ConvolutionTask> convolution;
  std::unique_ptr<GroupedConvolution> grouped;
  std::unique_ptr<MapTask> map;

  void run(int64_t image) const {
    if (convolution) convolution->run(image, image == 0);
    else if (grouped) grouped->run(image, image == 0);
    else map->run(image);
  }
};

}  // namespace

Execution::Execution(const Program& program, const Arrays& arrays)
    : program_(program), arrays_(arrays), kernel_(current_kernel()) {
  check_arrays(program, arrays);
  double total = 0;
  for (const Instruction& instruction : program.instructions) total += work(instruction);
  threads_ = total * arrays.images > kSerialWork ? omp_get_max_threads() : 1;

  std::vector<int64_t> slot_bytes;
  int64_t activation_bytes = 0, thread_bytes = 0;
  for (const Instruction& instruction : program.instructions) {
    int64_t weight_bytes = 0;
    if (instruction.kind == Instruction::kConvolution) {
      const Convolution conv = convolution(instruction);
      const ConvolutionMemory memory =
          has_small_groups(conv, kernel_) ? grouped_memory(conv) : ConvolutionMemory(conv, kernel_);
      activation_bytes = std::max(activation_bytes, memory.activation_bytes);
      thread_bytes = std::max(thread_bytes, memory.thread_bytes);
      weight_bytes = memory.weight_bytes;
    } else {
      thread_bytes = std::max(thread_bytes, map(instruction).thread_bytes());
    }
    weights_.push_back(reserve(weight_bytes));
    if (instruction.out_kind != 's') continue;
    if (instruction.out_index >= static_cast<int64_t>(slot_bytes.size())) slot_bytes.resize(instruction.out_index + 1);
    int64_t& bytes = slot_bytes[instruction.out_index];
    bytes = std::max(bytes, instruction.out.bytes());
  }
  for (int64_t bytes : slot_bytes) slots_.push_back(reserve(bytes));
  activations_ = reserve(activation_bytes);
  thread_memory_ = reserve(thread_bytes * threads_);
}

int64_t Execution::reserve(int64_t bytes) {
  const int64_t begin = workspace_bytes_;
  if (bytes > kMaxBytes - begin) fail("needs more than ", kMaxBytes, " bytes for one image; use a smaller image");
  workspace_bytes_ += round_up(bytes, kAlignment);
  return begin;
}

Slice Execution::slice(const Operand& operand, char* workspace) const {
  const Feature& feature = operand.feature;
  const bool planar = feature.layout == Layout::kPlanar, data = operand.kind == 'x';
  Slice whole = {feature.layout, operand.end - operand.begin, planar ? feature.size.pixels() : feature.channels,
                 data ? feature.bytes() : 0,
                 data ? static_cast<char*>(arrays_.data[operand.index].values) : workspace + slots_[operand.index]};
  whole.data = whole.at(0, operand.begin, 0);
  return whole;
}

Slice Execution::out_slice(const Instruction& instruction, char* workspace) const {
  const Feature& feature = instruction.out;
  const bool planar = feature.layout == Layout::kPlanar, output = instruction.out_kind == 'y';
  return {feature.layout, feature.channels, planar ? feature.size.pixels() : feature.channels,
          output ? feature.bytes() : 0,
          output ? static_cast<char*>(arrays_.outputs[instruction.out_index].values)
                 : workspace + slots_[instruction.out_index]};
}

std::vector<Slice> Execution::slices(const std::vector<Operand>& operands, char* workspace) const {
  std::vector<Slice> slices;
  for (const Operand& operand : operands) slices.push_back(slice(operand, workspace));
  return slices;
}

std::vector<Step> Execution::steps(const std::vector<StepText>& steps, int64_t channels, char* workspace) const {
  std::vector<Step> bound;
  for (const StepText& text : steps) {
    Step step = {text.kind, nullptr, channels, false, {}};
    if (text.kind == Step::kPlus) step.addend = slice(text.addend, workspace);
    if (text.parameter >= 0) {
      step.values = static_cast<const float*>(arrays_.parameters[text.parameter].values);
      step.single = arrays_.parameters[text.parameter].size == 1;
    }
    bound.push_back(step);
  }
  return bound;
}

void Execution::run(void* memory) const {
  char* workspace = static_cast<char*>(memory);
  workspace += round_up(reinterpret_cast<uintptr_t>(workspace), kAlignment) - reinterpret_cast<uintptr_t>(workspace);
  char *activations = workspace + activations_, *threads = workspace + thread_memory_;
  std::vector<Task> tasks;
  for (size_t i = 0; i < program_.instructions.size(); ++i) {
    const Instruction& instruction = program_.instructions[i];
    const std::vector<Slice> in = slices(instruction.in, workspace);
    const std::vector<Step> after = steps(instruction.steps, instruction.out.channels, workspace);
    const Slice out = out_slice(instruction, workspace);
    Task task;
    if (instruction.kind == Instruction::kConvolution) {
      const float* threshold = nullptr;
      if (instruction.threshold >= 0) {
        threshold = static_cast<const float*>(arrays_.parameters[instruction.threshold].values);
      }
      const Convolution conv = convolution(instruction);
      const uint8_t* weight = static_cast<const uint8_t*>(arrays_.parameters[instruction.weight].values);
      if (has_small_groups(conv, kernel_)) {
        task.grouped.reset(new GroupedConvolution(conv, in, weight, threshold, after, out, kernel_, activations,
                                                  workspace + weights_[i]));
      } else {
        task.convolution.reset(new ConvolutionTask(conv, in, weight, threshold, after, out, kernel_, activations,
                                                   workspace + weights_[i], threads));
      }
    } else {
      const std::vector<Step> before = steps(instruction.before, instruction.channels, workspace);
      task.map.reset(new MapTask(map(instruction), in, before, after, out, threads));
    }
    tasks.push_back(std::move(task));
  }
  const int64_t watched = begin_instructions(static_cast<int64_t>(tasks.size()));
#pragma omp parallel num_threads(threads_)
  {
    const ExactDenormals exact;
    for (int64_t image = 0; image < arrays_.images; ++image) {
      for (size_t i = 0; i < tasks.size(); ++i) {
        const InstructionStopwatch stopwatch(watched < 0 ? -1 : watched + static_cast<int64_t>(i));
        tasks[i].run(image);
      }
    }
  }
}

}  // namespace bmx
