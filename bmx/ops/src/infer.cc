// Shapes of a program.
#include <map>

#include "error.h"
#include "operations.h"
#include "plan.h"

namespace bmx {
namespace {

using bmx::text;  // of vectors, beside others

// Throws where an array of so many values could not be. Nothing here is empty.
void check_values(const std::string& what, int64_t channels, const Size& size) {
  if (size.height > kMaxValues / size.width || channels > kMaxValues / size.pixels()) {
    fail(what, " of ", channels, " channels and ", text(size), " pixels is too large");
  }
}

class Planner {
 public:
  Plan run(const Program& program, const std::vector<Feature>& data) {
    for (size_t i = 0; i < data.size(); ++i) {
      if (data[i].channels < 1 || data[i].size.height < 1 || data[i].size.width < 1) fail("x", i, " is empty");
      check_values("x" + std::to_string(i), data[i].channels, data[i].size);
    }
    plan_.data = data;
    plan_.num_outputs = program.num_outputs;
    for (const Parameter& parameter : program.parameters) plan_.parameters.push_back({parameter, {}});
    for (const Instruction& instruction : program.instructions) {
      try {
        plan_.instructions.push_back(plan(instruction));
      } catch (const Error& error) {
        fail(instruction.place, error.what());
      }
      if (instruction.out.kind == 's') slots_[instruction.out.index] = plan_.instructions.back().out;
    }
    return std::move(plan_);
  }

 private:
  PlannedInstruction plan(const Instruction& instruction) {
    PlannedInstruction planned;
    planned.operation = instruction.operation;
    planned.in = sources(instruction.in);
    planned.to = instruction.out;
    const Feature in = {instruction.out.layout, planned.channels(), planned.in[0].feature.size, 0};
    if (in.channels > INT_MAX) fail(in.channels, " input channels are too many");
    Inference inference = {instruction, in.channels, in.size, in, {}};
    planned.problem = instruction.operation->infer(instruction.words.get(), &inference);
    for (size_t i = 0; i < instruction.parameters.size(); ++i) {
      planned.parameters.push_back(instruction.parameters[i].index);
      require(planned.parameters[i], inference.shapes[i]);
    }
    planned.out = inference.out;
    planned.before = steps(instruction.before, in);
    planned.steps = steps(instruction.steps, planned.out);
    if (planned.out.layout == Layout::kShorts) add_ranges(planned.steps, &planned.out);
    check_values("a result", planned.out.channels, planned.out.size);
    if (instruction.out.kind == 's') check_overwritten(planned);
    return planned;
  }

  Source source(const Operand& operand) const {
    Source source = {operand, {}};
    if (operand.kind == 'x') {
      source.feature = plan_.data[operand.index];
    } else {
      const auto slot = slots_.find(operand.index);
      if (slot == slots_.end()) fail("reads s", operand.index, ", which no instruction has written");
      source.feature = slot->second;
    }
    if (operand.end > source.feature.channels) {
      fail(text(operand), " is out of range, there are ", source.feature.channels, " channels");
    }
    return source;
  }

  std::vector<Source> sources(const std::vector<Operand>& operands) const {
    std::vector<Source> found;
    for (const Operand& operand : operands) {
      found.push_back(source(operand));
      const Size first = found[0].feature.size, size = found.back().feature.size;
      if (!(size == first)) {
        fail(text(operand), " of ", text(size), " pixels is concatenated with one of ", text(first));
      }
    }
    return found;
  }

  std::vector<PlannedStep> steps(const std::vector<StepText>& texts, const Feature& feature) {
    std::vector<PlannedStep> planned;
    for (const StepText& step : texts) {
      planned.push_back({step.kind, step.parameter, {}});
      if (step.kind == Step::kNormalize) require(step.parameter, {3, feature.channels});
      else if (step.parameter >= 0) require(step.parameter, {feature.channels});
      if (step.kind != Step::kPlus) continue;
      const Source addend = source(step.addend);
      const int64_t channels = addend.operand.channels(), times = step.repeats ? feature.channels / channels : 1;
      if (channels * times != feature.channels || !(addend.feature.size == feature.size)) {
        fail(step.repeats ? "repeat:" : "plus:", text(step.addend), " adds ", addend.operand.channels(),
             " channels of ", text(addend.feature.size), " pixels to ", feature.channels, " of ", text(feature.size));
      }
      planned.back().addend = addend;
    }
    return planned;
  }

  // Of a result of type int16.
  void add_ranges(const std::vector<PlannedStep>& steps, Feature* out) const {
    if (!out->largest) fail("only a conv writes int16");
    for (const PlannedStep& step : steps) {
      if (step.kind != Step::kPlus || step.addend.feature.layout != Layout::kShorts ||
          step.addend.operand.channels() != out->channels) {
        fail("a result of type int16 takes no steps but plus of int16 slots");
      }
      out->largest += step.addend.feature.largest;
    }
    if (out->largest > kMaxShort) fail("values of up to ", out->largest, " do not fit int16");
  }

  // Whatever is read while the slot is written must be the very value that is replaced.
  void check_overwritten(const PlannedInstruction& planned) const {
    const auto check = [&](const Operand& operand) {
      if (planned.to.holds(operand)) fail("writes s", operand.index, " while it reads it");
    };
    if (!planned.operation->reads_first) {
      for (const Source& source : planned.in) check(source.operand);
    }
    for (const PlannedStep& step : planned.before) {
      if (step.kind == Step::kPlus) check(step.addend.operand);
    }
    for (const PlannedStep& step : planned.steps) {
      if (step.kind != Step::kPlus || !planned.to.holds(step.addend.operand)) continue;
      const Feature& old = step.addend.feature;
      const int64_t channels = planned.out.channels;
      if (old.layout != planned.out.layout || old.channels != channels || step.addend.operand.channels() != channels) {
        fail("adds ", text(step.addend.operand), " in place, but s", planned.to.index, " changes its type or channels");
      }
    }
  }

  void require(int64_t parameter, const std::vector<int64_t>& shape) {
    std::vector<int64_t>& known = plan_.parameters[parameter].shape;
    if (known.empty()) known = shape;
    if (known != shape) {
      fail("p", parameter, " must have shape ", text(shape), ", an earlier use needs ", text(known));
    }
  }

  Plan plan_;
  std::map<int64_t, Feature> slots_;
};

}  // namespace

int64_t PlannedInstruction::channels() const {
  int64_t channels = 0;
  for (const Source& source : in) channels += source.operand.channels();
  return channels;
}

Size Inference::slide(const Window& window, int64_t values) const {
  const Size padded = window.padded(image), reach = window.reach();
  if (reach.height > padded.height || reach.width > padded.width) {
    fail("kernel spans ", text(reach), " but the padded data only ", text(padded));
  }
  if (padded.height > kMaxValues / padded.width || values > kMaxValues / padded.pixels()) {
    fail("padded data of ", channels, " channels and ", text(padded), " pixels is too large");
  }
  return window.out(image);
}

Plan infer(const Program& program, const std::vector<Feature>& data, const CacheLimits& limits) {
  Plan plan = Planner().run(program, data);
  plan.bands = find_bands(plan, limits);
  plan.parts = find_parts(plan, limits);
  return plan;
}

}  // namespace bmx
