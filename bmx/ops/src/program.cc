#include "program.h"

#include <algorithm>

#include "error.h"
#include "operations.h"
#include "reader.h"

namespace bmx {
namespace {

// `words` behind the name of an operation.
Instruction parse(const Operation& operation, const std::vector<std::string>& words) {
  Reader reader(words);
  Instruction instruction;
  instruction.operation = &operation;
  reader.require("in");
  reader.operands("in", &instruction.in);
  reader.require("out");
  reader.destination("out", &instruction.out);
  operation.parse(&reader, &instruction);
  reader.steps("steps", &instruction.steps);
  reader.check_all_taken();
  return instruction;
}

// The parameters of all instructions. Throws where one is two things, or is not used.
class Parameters {
 public:
  void add(int64_t index, bool bits, bool may_be_single) {
    if (index >= static_cast<int64_t>(used_.size())) {
      used_.resize(index + 1);
      parameters_.resize(index + 1);
    }
    Parameter& parameter = parameters_[index];
    if (!used_[index]) parameter = {bits, may_be_single};
    if (parameter.bits != bits) fail("p", index, " is both a weight and something else");
    parameter.may_be_single = parameter.may_be_single && may_be_single;
    used_[index] = true;
  }
  void add(const std::vector<StepText>& steps) {
    for (const StepText& step : steps) {
      if (step.parameter >= 0) add(step.parameter, false, step.kind == Step::kParametricRectify);
    }
  }
  std::vector<Parameter> all() const {
    const auto unused = std::find(used_.begin(), used_.end(), false);
    if (unused != used_.end()) fail("parameter p", unused - used_.begin(), " is not used, but a higher one is");
    return parameters_;
  }

 private:
  std::vector<Parameter> parameters_;
  std::vector<bool> used_;
};

void check_data(const Operand& operand, int64_t num_data) {
  if (operand.kind == 'x' && operand.index >= num_data) {
    fail("there are ", num_data, " data inputs, no x", operand.index);
  }
}

void check_data(const Instruction& instruction, int64_t num_data) {
  for (const Operand& operand : instruction.in) check_data(operand, num_data);
  for (const auto* steps : {&instruction.before, &instruction.steps}) {
    for (const StepText& step : *steps) {
      if (step.kind == Step::kPlus) check_data(step.addend, num_data);
    }
  }
}

// Throws where the instructions do not write each output once.
class Outputs {
 public:
  explicit Outputs(int64_t count) : writers_(count, -1) {}

  void add(const Destination& out, int64_t instruction) {
    if (out.kind != 'y') return;
    const int64_t count = static_cast<int64_t>(writers_.size());
    if (out.index >= count) fail("there are ", count, " outputs, no y", out.index);
    int64_t& writer = writers_[out.index];
    if (writer >= 0) fail("y", out.index, " was written by instruction ", writer, " already");
    writer = instruction;
  }
  void check_all() const {
    const auto missing = std::find(writers_.begin(), writers_.end(), -1);
    if (missing != writers_.end()) fail("no instruction writes output y", missing - writers_.begin());
  }

 private:
  std::vector<int64_t> writers_;
};

}  // namespace

std::string text(const Operand& operand) {
  return operand.kind + std::to_string(operand.index) + "[" + std::to_string(operand.begin) + ":" +
         std::to_string(operand.end) + "]";
}

Program::Program(std::vector<Instruction> all, int64_t data_count, int64_t output_count)
    : num_data(data_count), num_outputs(output_count), instructions(std::move(all)) {
  if (instructions.empty()) fail("program has no instructions");
  Parameters found;
  Outputs outputs(num_outputs);
  for (size_t i = 0; i < instructions.size(); ++i) {
    const Instruction& instruction = instructions[i];
    try {
      check_data(instruction, num_data);
      for (const ParameterUse& use : instruction.parameters) found.add(use.index, use.bits, false);
      found.add(instruction.before);
      found.add(instruction.steps);
      outputs.add(instruction.out, static_cast<int64_t>(i));
    } catch (const Error& error) {
      fail(instruction.place, error.what());
    }
  }
  parameters = found.all();
  outputs.check_all();
}

Program parse_program(const std::string& text, int64_t num_data, int64_t num_outputs) {
  std::vector<Instruction> instructions;
  for (const std::string& part : split(text, ';')) {
    std::vector<std::string> words = split(part, ' ');
    words.erase(std::remove(words.begin(), words.end(), std::string()), words.end());
    if (words.empty()) continue;
    const std::string name = words[0];
    std::string place = "instruction " + std::to_string(instructions.size()) + ": ";
    try {
      const Operation& operation = find_operation(name);
      place.insert(place.size() - 2, " (" + name + ")");
      words.erase(words.begin());
      instructions.push_back(parse(operation, words));
      instructions.back().place = place;
    } catch (const Error& error) {
      fail(place, error.what());
    }
  }
  return Program(std::move(instructions), num_data, num_outputs);
}

}  // namespace bmx
