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

Execution::Execution(const Plan& plan, const Arrays& arrays) : plan_(plan), arrays_(arrays), kernel_(current_kernel()) {
  check_arrays(plan, arrays);
  std::vector<int64_t> slot_bytes;
  Memory most = {0, 0, 0};
  double work = 0;
  for (size_t i = 0; i < plan.instructions.size(); ++i) {
    const PlannedInstruction& instruction = plan.instructions[i];
    const Operation& operation = *instruction.operation;
    const Bands* bands = bands_of(i);
    work += operation.work(problem(i)) * static_cast<double>(instruction.out.values());
    const Memory memory = operation.memory(problem(i), kernel_);
    most.shared = std::max(most.shared, memory.shared);
    most.thread = std::max(most.thread, memory.thread);
    const bool keeps = arrays.images > 1 || bands;
    if (!keeps) most.kept = std::max(most.kept, memory.kept);
    kept_.push_back(keeps ? reserve(memory.kept) : -1);
    if (instruction.to.kind != 's') continue;
    if (instruction.to.index >= static_cast<int64_t>(slot_bytes.size())) slot_bytes.resize(instruction.to.index + 1);
    int64_t& bytes = slot_bytes[instruction.to.index];
    const bool local = bands && bands->is_local(instruction.to.index);
    bytes = std::max(bytes, local ? instruction.out.bytes() / bands->count : instruction.out.bytes());
  }
  threads_ = work * static_cast<double>(arrays.images) > kSerialWork ? omp_get_max_threads() : 1;
  const int64_t not_kept = reserve(most.kept);
  for (int64_t& kept : kept_) kept = kept < 0 ? not_kept : kept;
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

// Those of which the instruction is, or null.
const Bands* Execution::bands_of(size_t instruction) const {
  for (const Bands& bands : plan_.bands) {
    if (bands.begin <= instruction && instruction < bands.end) return &bands;
  }
  return nullptr;
}

const void* Execution::problem(size_t instruction) const {
  const Bands* bands = bands_of(instruction);
  return bands ? bands->problems[instruction - bands->begin].get() : plan_.instructions[instruction].problem.get();
}

// All channels of a data input, output or slot. What tasks take for an image is a band, in `bands`.
Slice Execution::whole(char kind, int64_t index, const Feature& feature, const Bands* bands, char* workspace) const {
  const bool planar = feature.layout == Layout::kPlanar, local = bands && bands->is_local(index);
  int64_t stride = planar ? feature.size.pixels() : feature.channels, image_bytes = 0;
  if (local && planar) stride /= bands->count;
  if (bands && !local) image_bytes = feature.bytes() / bands->count / (planar ? feature.channels : 1);
  if (kind == 's') return {feature.layout, feature.channels, stride, image_bytes, workspace + slots_[index]};
  void* values = (kind == 'x' ? arrays_.data : arrays_.outputs)[index].values;
  return {feature.layout, feature.channels, stride, feature.bytes(), static_cast<char*>(values)};
}

Slice Execution::slice(const Source& source, const Bands* bands, char* workspace) const {
  const Operand& operand = source.operand;
  Slice slice = whole(operand.kind, operand.index, source.feature, bands, workspace);
  slice.channels = operand.channels();
  slice.data = slice.at(0, operand.begin, 0);
  return slice;
}

std::vector<Step> Execution::steps(const std::vector<PlannedStep>& steps, int64_t channels, const Bands* bands,
                                   char* workspace) const {
  std::vector<Step> bound;
  for (const PlannedStep& planned : steps) {
    Step step = {planned.kind, nullptr, channels, false, {}};
    if (planned.kind == Step::kPlus) step.addend = slice(planned.addend, bands, workspace);
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
  const Bands* bands = bands_of(index);
  std::vector<Slice> in;
  for (const Source& source : instruction.in) in.push_back(slice(source, bands, workspace));
  std::vector<const void*> parameters;
  for (int64_t parameter : instruction.parameters) parameters.push_back(arrays_.parameters[parameter].values);
  return {kernel_,
          in,
          steps(instruction.before, instruction.channels(), bands, workspace),
          steps(instruction.steps, instruction.out.channels, bands, workspace),
          whole(instruction.to.kind, instruction.to.index, instruction.out, bands, workspace),
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
    tasks.push_back(instruction.operation->bind(problem(i), bind(i, workspace)));
  }
  const int64_t watched = begin_instructions(static_cast<int64_t>(tasks.size()));
#pragma omp parallel num_threads(threads_)
  {
    const ExactDenormals exact;
    const auto compute = [&](size_t i, int64_t image) {
      const InstructionStopwatch stopwatch(watched < 0 ? -1 : watched + static_cast<int64_t>(i));
      tasks[i]->run(image);
    };
    for (int64_t image = 0; image < arrays_.images; ++image) {
      for (size_t i = 0; i < tasks.size();) {
        const Bands* bands = bands_of(i);
        if (!bands) {
          compute(i++, image);
          continue;
        }
        for (int64_t band = 0; band < bands->count; ++band) {
          for (i = bands->begin; i < bands->end; ++i) compute(i, band);
        }
      }
    }
  }
}

}  // namespace bmx
