#include "execution.h"

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

Slice cut(Slice slice, int64_t begin, int64_t end) {
  slice.data = slice.at(0, begin, 0);
  slice.channels = end - begin;
  return slice;
}

// Channels [begin, end) of what is concatenated.
std::vector<Slice> cut(const std::vector<Slice>& slices, int64_t begin, int64_t end) {
  std::vector<Slice> found;
  int64_t first = 0;
  for (const Slice& slice : slices) {
    const int64_t from = std::max(begin - first, int64_t{0}), to = std::min(end - first, slice.channels);
    if (from < to) found.push_back(cut(slice, from, to));
    first += slice.channels;
  }
  return found;
}

}  // namespace

Execution::Execution(const Plan& plan, const Arrays& arrays, const Kernel& kernel, Team* team)
    : plan_(plan), arrays_(arrays), kernel_(kernel), team_(team) {
  check_arrays(plan, arrays);
  std::vector<int64_t> slot_bytes;
  Memory most = {0, 0, 0};
  double work = 0;
  for (size_t i = 0; i < plan.instructions.size(); ++i) {
    const PlannedInstruction& instruction = plan.instructions[i];
    const Operation& operation = *instruction.operation;
    const Piece piece = this->piece(i);
    work += operation.work(instruction.problem.get()) * static_cast<double>(instruction.out.values());
    const Memory memory = operation.memory(problem(i, piece), kernel_);
    most.shared = std::max(most.shared, memory.shared);
    most.thread = std::max(most.thread, memory.thread);
    const bool keeps = arrays.images > 1 || piece.bands;
    if (!keeps) most.kept = std::max(most.kept, memory.kept);
    kept_.push_back(keeps ? reserve(memory.kept) : -1);
    if (instruction.to.kind != 's') continue;
    if (instruction.to.index >= static_cast<int64_t>(slot_bytes.size())) slot_bytes.resize(instruction.to.index + 1);
    int64_t& bytes = slot_bytes[instruction.to.index];
    const bool local = is_local(instruction.to.index, piece);
    bytes = std::max(bytes, instruction.out.bytes() / (local ? piece.count() : 1));
  }
  is_small_ = work * static_cast<double>(arrays.images) <= kSerialWork;
  const int64_t not_kept = reserve(most.kept);
  for (int64_t& kept : kept_) kept = kept < 0 ? not_kept : kept;
  for (int64_t bytes : slot_bytes) slots_.push_back(reserve(bytes));
  shared_ = reserve(most.shared);
  thread_memory_ = reserve(most.thread * (is_small_ ? 1 : team->size()));
}

int64_t Execution::reserve(int64_t bytes) {
  const int64_t begin = workspace_bytes_;
  if (bytes > kMaxBytes - begin) fail("needs more than ", kMaxBytes, " bytes for one image; use a smaller image");
  workspace_bytes_ += round_up(bytes, kAlignment);
  return begin;
}

Execution::Piece Execution::piece(size_t instruction, int64_t part) const {
  for (const Bands& bands : plan_.bands) {
    if (bands.holds(instruction)) return {&bands, nullptr, 0};
  }
  for (const Parts& parts : plan_.parts) {
    if (parts.begin == instruction || parts.begin + 1 == instruction) return {nullptr, &parts, part};
  }
  return {nullptr, nullptr, 0};
}

const void* Execution::problem(size_t instruction, const Piece& piece) const {
  if (piece.bands) return piece.bands->problems[instruction - piece.bands->begin].get();
  if (piece.parts) return piece.parts->of(instruction).problem.get();
  return plan_.instructions[instruction].problem.get();
}

// Does the slot hold a piece at a time?
bool Execution::is_local(int64_t slot, const Piece& piece) const {
  if (piece.bands) return piece.bands->is_local(slot);
  return piece.parts && plan_.instructions[piece.parts->begin].to.index == slot;
}

// All channels of a data input, output or slot; of a part's own slot those that it holds. What tasks take for an image
// is a band, in bands.
Slice Execution::whole(char kind, int64_t index, const Feature& feature, const Piece& piece, char* workspace) const {
  const bool planar = feature.layout == Layout::kPlanar, local = kind == 's' && is_local(index, piece);
  int64_t channels = feature.channels, stride = planar ? feature.size.pixels() : channels, image_bytes = 0;
  if (piece.bands && local && planar) stride /= piece.count();
  if (piece.bands && !local) image_bytes = feature.bytes() / piece.count() / (planar ? channels : 1);
  if (piece.parts && local) channels /= piece.count();
  if (kind == 's') return {feature.layout, channels, stride, image_bytes, workspace + slots_[index]};
  void* values = (kind == 'x' ? arrays_.data : arrays_.outputs)[index].values;
  return {feature.layout, channels, stride, feature.bytes(), static_cast<char*>(values)};
}

Slice Execution::slice(const Source& source, const Piece& piece, char* workspace) const {
  const Operand& operand = source.operand;
  Slice slice = whole(operand.kind, operand.index, source.feature, piece, workspace);
  const bool is_part = slice.channels < source.feature.channels;  // then it is all that is read
  return is_part ? slice : cut(slice, operand.begin, operand.end);
}

std::vector<Step> Execution::steps(const std::vector<PlannedStep>& steps, int64_t channels, const Piece& piece,
                                   char* workspace) const {
  std::vector<Step> bound;
  for (const PlannedStep& planned : steps) {
    Step step = {planned.kind, nullptr, channels, false, {}};
    if (planned.kind == Step::kPlus) step.addend = slice(planned.addend, piece, workspace);
    if (planned.parameter >= 0) {
      step.values = static_cast<const float*>(arrays_.parameters[planned.parameter].values);
      step.single = arrays_.parameters[planned.parameter].size == 1;
    }
    bound.push_back(step);
  }
  return bound;
}

Binding Execution::bind(size_t index, const Piece& piece, char* workspace) const {
  const PlannedInstruction& instruction = plan_.instructions[index];
  std::vector<Slice> in;
  for (const Source& source : instruction.in) in.push_back(slice(source, piece, workspace));
  std::vector<const void*> parameters;
  for (int64_t parameter : instruction.parameters) parameters.push_back(arrays_.parameters[parameter].values);
  Binding binding = {kernel_,
                     in,
                     steps(instruction.before, instruction.channels(), piece, workspace),
                     steps(instruction.steps, instruction.out.channels, piece, workspace),
                     whole(instruction.to.kind, instruction.to.index, instruction.out, piece, workspace),
                     parameters,
                     workspace + shared_,
                     workspace + kept_[index],
                     workspace + thread_memory_};
  if (piece.parts) leave_part(index, piece, &binding);
  return binding;
}

// Leaves of a binding what a part of the channels needs.
void Execution::leave_part(size_t index, const Piece& piece, Binding* binding) const {
  const PlannedInstruction& instruction = plan_.instructions[index];
  const int64_t count = piece.count(), part = piece.part;
  const int64_t channels = instruction.channels() / count, filters = instruction.out.channels / count;
  const auto advance = [](std::vector<Step>* steps, int64_t channel) {
    for (Step& step : *steps) {
      if (step.values && !step.single) step.values += channel;
    }
  };
  for (size_t i = 0; i < binding->parameters.size(); ++i) {  // of filters, the first of all dimensions
    const Array& weights = arrays_.parameters[instruction.parameters[i]];
    binding->parameters[i] = static_cast<const float*>(weights.values) + weights.size / count * part;
  }
  if (piece.parts->of(index).cuts_input) advance(&binding->before, channels * part);
  advance(&binding->steps, filters * part);
  const bool hands_over = index == piece.parts->begin;
  if (!hands_over) binding->out = cut(binding->out, filters * part, filters * (part + 1));
  else if (piece.parts->producer.cuts_input) binding->in = cut(binding->in, channels * part, channels * (part + 1));
}

void Execution::run(void* memory) const {
  char* workspace = static_cast<char*>(memory);
  workspace += round_up(reinterpret_cast<uintptr_t>(workspace), kAlignment) - reinterpret_cast<uintptr_t>(workspace);
  std::vector<std::vector<std::unique_ptr<Task>>> tasks;  // of each instruction, for every part
  for (size_t i = 0; i < plan_.instructions.size(); ++i) {
    tasks.emplace_back();
    const int64_t parts = piece(i).parts ? piece(i).count() : 1;
    for (int64_t part = 0; part < parts; ++part) {
      const Piece piece = this->piece(i, part);
      tasks[i].push_back(plan_.instructions[i].operation->bind(problem(i, piece), bind(i, piece, workspace)));
    }
  }
  const int64_t watched = begin_instructions(static_cast<int64_t>(tasks.size()));
  const auto compute_all = [&] {
    const ExactDenormals exact;
    const auto compute = [&](size_t i, int64_t part, int64_t image) {
      const InstructionStopwatch stopwatch(watched < 0 ? -1 : watched + static_cast<int64_t>(i));
      tasks[i][part]->run(image);
    };
    for (int64_t image = 0; image < arrays_.images; ++image) {
      for (size_t i = 0, end; i < tasks.size(); i = end) {
        const Piece piece = this->piece(i);
        end = piece.bands ? piece.bands->end : piece.parts ? i + 2 : i + 1;
        for (int64_t each = 0; each < piece.count(); ++each) {
          for (size_t j = i; j < end; ++j) compute(j, piece.parts ? each : 0, piece.bands ? each : image);
        }
      }
    }
  };
  is_small_ ? compute_all() : team_->run(compute_all);
}

}  // namespace bmx
