// Shapes of a program.
#include <climits>
#include <map>

#include "error.h"
#include "packing.h"
#include "program.h"

namespace bmx {
namespace {

constexpr int64_t kMaxShort = 32767;

using bmx::text;  // of vectors, beside these

std::string text(const Size& size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

std::string text(const Operand& operand) {
  return operand.kind + std::to_string(operand.index) + "[" + std::to_string(operand.begin) + ":" +
         std::to_string(operand.end) + "]";
}

// Throws where an array of so many values could not be. Nothing here is empty.
void check_values(const std::string& what, int64_t channels, const Size& size) {
  if (size.height > kMaxValues / size.width || channels > kMaxValues / size.pixels()) {
    fail(what, " of ", channels, " channels and ", text(size), " pixels is too large");
  }
}

class Inference {
 public:
  Inference(const std::vector<Feature>& data, Program* program) : data_(data), program_(program) {}

  void run() {
    for (size_t i = 0; i < data_.size(); ++i) {
      const Feature& data = data_[i];
      if (data.channels < 1 || data.size.height < 1 || data.size.width < 1) fail("x", i, " is empty");
      check_values("x" + std::to_string(i), data.channels, data.size);
    }
    program_->data = data_;
    for (size_t i = 0; i < program_->instructions.size(); ++i) {
      try {
        infer(&program_->instructions[i]);
      } catch (const Error& error) {
        fail(describe(*program_, i), ": ", error.what());
      }
    }
  }

 private:
  void infer(Instruction* instruction) {
    read_input(instruction);
    Feature out = {instruction->out_layout, 0, instruction->image, 0};
    if (instruction->kind == Instruction::kConvolution) {
      convolution(instruction, &out);
    } else {
      out.channels = instruction->channels;
      if (out.channels % instruction->groups) {
        fail("shuffle ", instruction->groups, " does not divide the ", out.channels, " channels");
      }
      if (instruction->pool != Pool::kNone) out.size = slide(*instruction);
    }
    const Feature in = {Layout::kPlanar, instruction->channels, instruction->image, 0};
    check_steps(in, &instruction->before);
    check_steps(out, &instruction->steps);
    if (out.layout == Layout::kShorts) check_range(*instruction, &out);
    check_values("a result", out.channels, out.size);
    instruction->out = out;
    if (instruction->out_kind == 'y') return;
    check_overwritten(*instruction);
    slots_[instruction->out_index] = out;
  }

  void resolve(Operand* operand) const {
    if (operand->kind == 'x') {
      operand->feature = data_[operand->index];
    } else {
      const auto slot = slots_.find(operand->index);
      if (slot == slots_.end()) fail("reads s", operand->index, ", which no instruction has written");
      operand->feature = slot->second;
    }
    if (operand->end > operand->feature.channels) {
      fail(text(*operand), " is out of range, there are ", operand->feature.channels, " channels");
    }
  }

  void read_input(Instruction* instruction) const {
    instruction->channels = 0;
    for (Operand& operand : instruction->in) {
      resolve(&operand);
      const Size first = instruction->in[0].feature.size;
      if (!(operand.feature.size == first)) {
        fail(text(operand), " of ", text(operand.feature.size), " pixels is concatenated with one of ", text(first));
      }
      instruction->channels += operand.end - operand.begin;
    }
    if (instruction->channels > INT_MAX) fail(instruction->channels, " input channels are too many");
    instruction->image = instruction->in[0].feature.size;
  }

  // Size of the result of sliding the window.
  Size slide(const Instruction& instruction) const {
    const Window& window = instruction.window;
    const Size padded = window.padded(instruction.image), reach = window.reach();
    if (reach.height > padded.height || reach.width > padded.width) {
      fail("kernel spans ", text(reach), " but the padded data only ", text(padded));
    }
    if (padded.height > kMaxValues / padded.width) fail("padded data of ", text(padded), " pixels is too large");
    return window.out(instruction.image);
  }

  void convolution(Instruction* instruction, Feature* out) {
    const Window& window = instruction->window;
    if (instruction->channels % instruction->groups) {
      fail("groups ", instruction->groups, " do not divide the ", instruction->channels, " channels");
    }
    const int64_t channels = instruction->channels / instruction->groups;
    const int64_t most = instruction->out_layout == Layout::kShorts ? kMaxShort : kMaxBits;
    if (window.kernel.height > most / window.kernel.width || channels > most / window.taps()) {
      fail("sums of more than ", most, " products are not exact in ",
           instruction->out_layout == Layout::kShorts ? "int16" : "float32", ", got ", channels,
           " channels and kernel ", text(window.kernel));
    }
    out->channels = instruction->filters;
    out->size = slide(*instruction);
    const Size padded = window.padded(instruction->image);
    if (instruction->groups * words_for(channels) > kMaxValues / padded.pixels()) {  // as it is packed
      fail("padded data of ", instruction->channels, " channels and ", text(padded), " pixels is too large");
    }
    if (instruction->filters > kMaxValues / (window.taps() * ((channels + 7) / 8))) {
      fail("weights of ", instruction->filters, " filters, ", channels, " channels and kernel ", text(window.kernel),
           " are too large");
    }
    out->largest = channels * window.taps();
    need(instruction->weight,
         {instruction->filters, window.kernel.height, window.kernel.width, (channels + 7) / 8});
    if (instruction->threshold >= 0) need(instruction->threshold, {2, instruction->channels});
  }

  void check_steps(const Feature& feature, std::vector<StepText>* steps) {
    for (StepText& step : *steps) {
      if (step.kind == Step::kNormalize) need(step.parameter, {3, feature.channels});
      else if (step.parameter >= 0) need(step.parameter, {feature.channels});
      if (step.kind != Step::kPlus) continue;
      resolve(&step.addend);
      const int64_t channels = step.addend.end - step.addend.begin;
      if (channels != feature.channels || !(step.addend.feature.size == feature.size)) {
        fail("plus:", text(step.addend), " adds ", channels, " channels of ", text(step.addend.feature.size),
             " pixels to ", feature.channels, " of ", text(feature.size));
      }
    }
  }

  void check_range(const Instruction& instruction, Feature* out) const {
    if (instruction.kind == Instruction::kMap) fail("only a conv writes int16");
    if (instruction.binarizations > 1) fail("sums of ", instruction.binarizations, " binarizations are not int16");
    for (const StepText& step : instruction.steps) {
      if (step.kind != Step::kPlus || step.addend.feature.layout != Layout::kShorts) {
        fail("a result of type int16 takes no steps but plus of int16 slots");
      }
      out->largest += step.addend.feature.largest;
    }
    if (out->largest > kMaxShort) fail("values of up to ", out->largest, " do not fit int16");
  }

  // Whatever is read while the slot is written must be the very value that is replaced.
  void check_overwritten(const Instruction& instruction) const {
    const auto overwrites = [&](const Operand& operand) {
      return operand.kind == 's' && operand.index == instruction.out_index;
    };
    if (instruction.kind == Instruction::kMap) {
      for (const Operand& operand : instruction.in) {
        if (overwrites(operand)) fail("writes s", operand.index, " while it reads it");
      }
    }
    for (const StepText& step : instruction.before) {
      if (step.kind == Step::kPlus && overwrites(step.addend)) {
        fail("writes s", step.addend.index, " while it reads it");
      }
    }
    for (const StepText& step : instruction.steps) {
      if (step.kind != Step::kPlus || !overwrites(step.addend)) continue;
      const Feature& old = step.addend.feature;
      if (instruction.kind == Instruction::kMap && instruction.groups > 1) {
        fail("adds ", text(step.addend), " in place, but shuffles");
      }
      if (old.layout != instruction.out.layout || old.channels != instruction.out.channels) {
        fail("adds ", text(step.addend), " in place, but s", step.addend.index, " changes its type or channels");
      }
    }
  }

  void need(int64_t parameter, const std::vector<int64_t>& shape) {
    std::vector<int64_t>& known = program_->parameters[parameter].shape;
    if (known.empty()) known = shape;
    if (known != shape) {
      fail("p", parameter, " must have shape ", text(shape), ", an earlier use needs ", text(known));
    }
  }

  const std::vector<Feature>& data_;
  Program* program_;
  std::map<int64_t, Feature> slots_;
};

}  // namespace

void infer(const std::vector<Feature>& data, Program* program) { Inference(data, program).run(); }

}  // namespace bmx
