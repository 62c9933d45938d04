#include "execution.h"

#include <omp.h>

#include <algorithm>
#include <memory>

#include "denormals.h"
#include "error.h"
#include "operations.h"
#include "profile.h"

namespace bmx {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 48;
constexpr double kSerialWork = 20000;  // below this many words and values starting threads costs more than it saves

// Throws where an array has not the `wanted` size.
void check_size(char kind, size_t index, const Array& array, int64_t wanted) {
  if (array.size != wanted) fail(kind, index, " must have ", wanted, " values, got ", array.size);
}

// Throws where the arrays are not those of the plan.
void check_arrays(const Plan& plan, const Arrays& arrays) {
  if (arrays.data.size() != plan.data.size() || arrays.parameters.size() != plan.parameters.size() ||
      static_cast<int64_t>(arrays.outputs.size()) != plan.num_outputs || arrays.images < 0) {
    fail("arrays of another program");
  }
  for (size_t i = 0; i < arrays.data.size(); ++i) {
    check_size('x', i, arrays.data[i], arrays.images * plan.data[i].values());
  }
  for (size_t i = 0; i < arrays.parameters.size(); ++i) {
    const PlannedParameter& parameter = plan.parameters[i];
    if (parameter.kind.may_be_single && arrays.parameters[i].size == 1) continue;
    int64_t wanted = 1;
    for (int64_t size : parameter.shape) wanted *= size;
    check_size('p', i, arrays.parameters[i], wanted);
  }
  for (const PlannedInstruction& instruction : plan.instructions) {
    if (instruction.to.kind != 'y') continue;
    check_size('y', instruction.to.index, arrays.outputs[instruction.to.index],
               arrays.images * instruction.out.values());
  }
}

}  // namespace

Execution::Execution(const Plan& plan, const Arrays& arrays)
    : plan_(plan), arrays_(arrays), kernel_(current_kernel()) {
  check_arrays(plan, arrays);
  std::vector<int64_t> slot_bytes;
  Memory most = {0, 0, 0};
  double work = 0;
  for (const PlannedInstruction& instruction : plan.instructions) {
    const Operation& operation = *instruction.operation;
    const void* problem = instruction.problem.get();
    work += operation.work(problem) * static_cast<double>(instruction.out.values());
    const Memory memory = operation.memory(problem, kernel_);
    most.shared = std::max(most.shared, memory.shared);
    most.thread = std::max(most.thread, memory.thread);
    most.kept = std::max(most.kept, memory.kept);
    if (arrays.images > 1) kept_.push_back(reserve(memory.kept));
    if (instruction.to.kind != 's') continue;
    if (instruction.to.index >= static_cast<int64_t>(slot_bytes.size())) slot_bytes.resize(instruction.to.index + 1);
    int64_t& bytes = slot_bytes[instruction.to.index];
    bytes = std::max(bytes, instruction.out.bytes());
  }
  threads_ = work * static_cast<double>(arrays.images) > kSerialWork ? omp_get_max_threads() : 1;
  if (arrays.images <= 1) kept_.assign(plan.instructions.size(), reserve(most.kept));  // nothing has to be kept
  for (int64_t bytes : slot_bytes) slots_.push_back(reserve(bytes));
  shared_ = reserve(most.shared);
  thread_memory_ = reserve(most.thread * threads_);
}

int64_t Execution::reserve(int64_t bytes) {
  const int64_t begin = workspace_bytes_;
  if (bytes > kMaxBytes - begin) fail("needs more than ", kMaxBytes, " bytes for one image; use a smaller image");
  workspace_bytes_ += round_up(bytes, kAlignment);
  return begin;
}

// All channels of a data input, output or slot.
Slice Execution::whole(char kind, int64_t index, const Feature& feature, char* workspace) const {
  const int64_t stride = feature.layout == Layout::kPlanar ? feature.size.pixels() : feature.channels;
  if (kind == 's') return {feature.layout, feature.channels, stride, 0, workspace + slots_[index]};
  void* values = (kind == 'x' ? arrays_.data : arrays_.outputs)[index].values;
  return {feature.layout, feature.channels, stride, feature.bytes(), static_cast<char*>(values)};
}

Slice Execution::slice(const Source& source, char* workspace) const {
  const Operand& operand = source.operand;
  Slice slice = whole(operand.kind, operand.index, source.feature, workspace);
  slice.channels = operand.channels();
  slice.data = slice.at(0, operand.begin, 0);
  return slice;
}

std::vector<Step> Execution::steps(const std::vector<PlannedStep>& steps, int64_t channels, char* workspace) const {
  std::vector<Step> bound;
  for (const PlannedStep& planned : steps) {
    Step step = {planned.kind, nullptr, channels, false, {}};
    if (planned.kind == Step::kPlus) step.addend = slice(planned.addend, workspace);
    if (planned.parameter >= 0) {
      step.values = static_cast<const float*>(arrays_.parameters[planned.parameter].values);
      step.single = arrays_.parameters[planned.parameter].size == 1;
    }
    bound.push_back(step);
  }
  return bound;
}

Binding Execution::bind(size_t index, char* workspace) const {
  const PlannedInstruction& instruction = plan_.instructions[index];
  std::vector<Slice> in;
  for (const Source& source : instruction.in) in.push_back(slice(source, workspace));
  std::vector<const void*> parameters;
  for (int64_t parameter : instruction.parameters) parameters.push_back(arrays_.parameters[parameter].values);
  return {kernel_,
          in,
          steps(instruction.before, instruction.channels(), workspace),
          steps(instruction.steps, instruction.out.channels, workspace),
          whole(instruction.to.kind, instruction.to.index, instruction.out, workspace),
          parameters,
          workspace + shared_,
          workspace + kept_[index],
          workspace + thread_memory_};
}

void Execution::run(void* memory) const {
  char* workspace = static_cast<char*>(memory);
  workspace += round_up(reinterpret_cast<uintptr_t>(workspace), kAlignment) - reinterpret_cast<uintptr_t>(workspace);
  std::vector<std::unique_ptr<Task>> tasks;
  for (size_t i = 0; i < plan_.instructions.size(); ++i) {
    const PlannedInstruction& instruction = plan_.instructions[i];
    tasks.push_back(instruction.operation->bind(instruction.problem.get(), bind(i, workspace)));
  }
  const int64_t watched = begin_instructions(static_cast<int64_t>(tasks.size()));
#pragma omp parallel num_threads(threads_)
  {
    const ExactDenormals exact;
    for (int64_t image = 0; image < arrays_.images; ++image) {
      for (size_t i = 0; i < tasks.size(); ++i) {
        const InstructionStopwatch stopwatch(watched < 0 ? -1 : watched + static_cast<int64_t>(i));
        tasks[i]->run(image);
      }
    }
  }
}

}  // namespace bmx
