#include "program.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <list>
#include <map>

#include "error.h"
#include "residual.h"

namespace bmx {
namespace {

constexpr int64_t kMaxIndex = 65535;  // of slots and parameters

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (;;) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return parts;
    begin = end + 1;
  }
}

int64_t to_int(const std::string& text, int64_t least, int64_t most, const char* what) {
  char* end = nullptr;
  errno = 0;
  const int64_t value = std::strtoll(text.c_str(), &end, 10);
  const bool number = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  if (!number || *end || end != text.c_str() + text.size()) fail(what, " must be an integer, got '", text, "'");
  if (errno || value < least || value > most) fail(what, " must be between ", least, " and ", most, ", got ", text);
  return value;
}

// "3,3"
Size to_size(const std::string& text, int64_t least, const char* what) {
  const std::vector<std::string> parts = split(text, ',');
  if (parts.size() != 2) fail(what, " must be two integers, got '", text, "'");
  return {to_int(parts[0], least, INT_MAX, what), to_int(parts[1], least, INT_MAX, what)};
}

// The keys and values of one instruction; each is taken once.
class Fields {
 public:
  explicit Fields(const std::vector<std::string>& words) {
    for (size_t i = 1; i < words.size(); ++i) {
      if (words[i].empty()) continue;
      const size_t equals = words[i].find('=');
      if (equals == std::string::npos) fail("'", words[i], "' is not key=value");
      const std::string key = words[i].substr(0, equals);
      if (!values_.emplace(key, words[i].substr(equals + 1)).second) fail("two values of ", key);
    }
  }
  // The value, or null where there is none.
  const std::string* take(const char* key) {
    known_ += std::string(known_.empty() ? "" : ", ") + key;
    const auto found = values_.find(key);
    if (found == values_.end()) return nullptr;
    taken_.push_back(std::move(found->second));
    values_.erase(found);
    return &taken_.back();
  }
  const std::string& require(const char* key) {
    const std::string* value = take(key);
    if (!value) fail(key, " is required");
    return *value;
  }
  void check_all_taken() const {
    if (!values_.empty()) fail("unknown key '", values_.begin()->first, "'; valid keys: ", known_);
  }

 private:
  std::map<std::string, std::string> values_;
  std::list<std::string> taken_;
  std::string known_;
};

class Parser {
 public:
  Parser(int64_t num_data, int64_t num_outputs) : program_{num_data, num_outputs, {}, {}, {}} {}

  Program run(const std::string& text) {
    for (const std::string& part : split(text, ';')) {
      std::vector<std::string> words = split(part, ' ');
      words.erase(std::remove(words.begin(), words.end(), std::string()), words.end());
      if (words.empty()) continue;
      const std::string place = "instruction " + std::to_string(program_.instructions.size());
      if (words[0] != "conv" && words[0] != "map") {
        fail(place, ": unknown kind '", words[0], "'; valid kinds: conv, map");
      }
      try {
        parse(words);
      } catch (const Error& error) {
        fail(place, " (", words[0], "): ", error.what());
      }
    }
    check_whole();
    return std::move(program_);
  }

 private:
  void parse(const std::vector<std::string>& words) {
    Fields fields(words);
    Instruction instruction;
    instruction.kind = words[0] == "conv" ? Instruction::kConvolution : Instruction::kMap;
    for (const std::string& slice : split(fields.require("in"), ',')) instruction.in.push_back(operand(slice));
    destination(fields.require("out"), &instruction);
    if (instruction.kind == Instruction::kConvolution) {
      convolution(&fields, &instruction);
    } else {
      map(&fields, &instruction);
    }
    if (const std::string* text = fields.take("steps")) instruction.steps = steps(*text);
    fields.check_all_taken();
    if (instruction.pool == Pool::kNone) {  // nothing between them
      instruction.steps.insert(instruction.steps.begin(), instruction.before.begin(), instruction.before.end());
      instruction.before.clear();
    }
    program_.instructions.push_back(std::move(instruction));
  }

  void convolution(Fields* fields, Instruction* instruction) {
    instruction->weight = parameter(fields->require("weight"), true);
    if (const std::string* text = fields->take("threshold")) instruction->threshold = parameter(*text, false);
    instruction->window.kernel = to_size(fields->require("kernel"), 1, "kernel");
    window(fields, instruction);
    if (const std::string* text = fields->take("dilate")) instruction->window.dilate = to_size(*text, 1, "dilate");
    instruction->filters = to_int(fields->require("filters"), 1, INT_MAX, "filters");
    if (const std::string* text = fields->take("groups")) instruction->groups = to_int(*text, 1, INT_MAX, "groups");
    if (instruction->filters % instruction->groups) {
      fail("groups must divide filters, got groups ", instruction->groups, " and filters ", instruction->filters);
    }
    if (const std::string* text = fields->take("pad_value")) {
      instruction->pad_value = static_cast<int>(to_int(*text, -1, 1, "pad_value"));
    }
    if (const std::string* text = fields->take("binarizations")) {
      instruction->binarizations = to_int(*text, 1, kMaxBinarizations, "binarizations");
    }
    if (instruction->binarizations > 1 && instruction->threshold >= 0) {
      fail("a threshold is of one binarization, got ", instruction->binarizations);
    }
  }

  void map(Fields* fields, Instruction* instruction) {
    if (const std::string* text = fields->take("shuffle")) {
      instruction->groups = to_int(*text, 1, INT_MAX, "shuffle");
      if (instruction->out_layout != Layout::kPlanar) fail("only a planar result can be shuffled");
    }
    if (const std::string* text = fields->take("before")) instruction->before = steps(*text);
    const std::string* pool = fields->take("pool");
    if (!pool) return;
    if (*pool == "max") instruction->pool = Pool::kMax;
    else if (*pool == "avg") instruction->pool = Pool::kAverage;
    else fail("pool must be max or avg, got '", *pool, "'");
    instruction->window.kernel = to_size(fields->require("kernel"), 1, "kernel");
    window(fields, instruction);
    if (const std::string* text = fields->take("full")) instruction->window.full = to_int(*text, 0, 1, "full");
    const Size kernel = instruction->window.kernel, pad = instruction->window.pad;
    if (pad.height >= kernel.height || pad.width >= kernel.width) {
      fail("pad ", pad.height, ",", pad.width, " must be smaller than kernel ", kernel.height, ",", kernel.width);
    }
  }

  void window(Fields* fields, Instruction* instruction) {
    if (const std::string* text = fields->take("stride")) instruction->window.stride = to_size(*text, 1, "stride");
    if (const std::string* text = fields->take("pad")) instruction->window.pad = to_size(*text, 0, "pad");
  }

  // "s3[0:64]"
  Operand operand(const std::string& text) const {
    const size_t open = text.find('['), colon = text.find(':');
    if (open == std::string::npos || colon == std::string::npos || colon < open || text.back() != ']') {
      fail("'", text, "' is not a slice like s0[0:64]");
    }
    Operand operand = {};
    operand.kind = text[0];
    if (operand.kind == 'x') {
      operand.index = to_int(text.substr(1, open - 1), 0, program_.num_data - 1, "number of a data input");
    } else if (operand.kind == 's') {
      operand.index = to_int(text.substr(1, open - 1), 0, kMaxIndex, "number of a slot");
    } else {
      fail("'", text, "' is neither a data input (x0) nor a slot (s0)");
    }
    operand.begin = to_int(text.substr(open + 1, colon - open - 1), 0, INT_MAX, "first channel");
    operand.end = to_int(text.substr(colon + 1, text.size() - colon - 2), 0, INT_MAX, "end of channels");
    if (operand.begin >= operand.end) fail("'", text, "' has no channels");
    return operand;
  }

  void destination(const std::string& text, Instruction* instruction) const {
    const size_t colon = text.find(':');
    instruction->out_kind = text.empty() ? ' ' : text[0];
    if (instruction->out_kind == 'y' && colon == std::string::npos) {
      instruction->out_index = to_int(text.substr(1), 0, program_.num_outputs - 1, "number of an output");
      instruction->out_layout = Layout::kPlanar;
      return;
    }
    if (instruction->out_kind != 's' || colon == std::string::npos) {
      fail("'", text, "' is neither an output (y0) nor a slot with its type (s0:int16)");
    }
    instruction->out_index = to_int(text.substr(1, colon - 1), 0, kMaxIndex, "number of a slot");
    const std::string type = text.substr(colon + 1);
    if (type == "int16") instruction->out_layout = Layout::kShorts;
    else if (type == "float32") instruction->out_layout = Layout::kFloats;
    else if (type == "planar") instruction->out_layout = Layout::kPlanar;
    else fail("unknown type '", type, "' of a slot; valid types: int16, float32, planar");
  }

  std::vector<StepText> steps(const std::string& text) {
    static const std::map<std::string, Step::Kind> kinds = {
        {"mul", Step::kMultiply}, {"add", Step::kAdd},                    {"norm", Step::kNormalize},
        {"relu", Step::kRectify}, {"prelu", Step::kParametricRectify}, {"plus", Step::kPlus}};
    std::vector<StepText> steps;
    for (const std::string& step : split(text, '|')) {
      const size_t colon = std::min(step.find(':'), step.size());
      const auto kind = kinds.find(step.substr(0, colon));
      if (kind == kinds.end()) {
        fail("unknown step '", step, "'; valid steps: mul, add, norm, relu, prelu, plus");
      }
      if ((kind->second == Step::kRectify) != (colon == step.size())) fail("'", step, "' is not a step");
      StepText parsed = {kind->second, -1, {}};
      if (kind->second == Step::kPlus) {
        parsed.addend = operand(step.substr(colon + 1));
      } else if (kind->second != Step::kRectify) {
        parsed.parameter = parameter(step.substr(colon + 1), false);
        if (kind->second != Step::kParametricRectify) program_.parameters[parsed.parameter].may_be_single = false;
      }
      steps.push_back(parsed);
    }
    return steps;
  }

  // "p3"
  int64_t parameter(const std::string& text, bool bits) {
    if (text.empty() || text[0] != 'p') fail("'", text, "' is not a parameter (p0)");
    const int64_t index = to_int(text.substr(1), 0, kMaxIndex, "number of a parameter");
    if (index >= static_cast<int64_t>(used_.size())) {
      used_.resize(index + 1);
      program_.parameters.resize(index + 1);
    }
    Parameter& parameter = program_.parameters[index];
    if (!used_[index]) parameter = {bits, true, {}};
    if (parameter.bits != bits) fail(text, " is both a weight and something else");
    used_[index] = true;
    return index;
  }

  void check_whole() const {
    if (program_.instructions.empty()) fail("program has no instructions");
    const auto unused = std::find(used_.begin(), used_.end(), false);
    if (unused != used_.end()) fail("parameter p", unused - used_.begin(), " is not used, but a higher one is");
    std::vector<int64_t> writers(program_.num_outputs, -1);
    for (size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      if (instruction.out_kind != 'y') continue;
      int64_t& writer = writers[instruction.out_index];
      if (writer >= 0) {
        fail(describe(program_, i), ": y", instruction.out_index, " was written by instruction ", writer, " already");
      }
      writer = static_cast<int64_t>(i);
    }
    for (size_t y = 0; y < writers.size(); ++y) {
      if (writers[y] < 0) fail("no instruction writes output y", y);
    }
  }

  Program program_;
  std::vector<bool> used_;
};

}  // namespace

std::string describe(const Program& program, size_t index) {
  const bool convolution = program.instructions[index].kind == Instruction::kConvolution;
  return "instruction " + std::to_string(index) + (convolution ? " (conv)" : " (map)");
}

Program parse_program(const std::string& text, int64_t num_data, int64_t num_outputs) {
  return Parser(num_data, num_outputs).run(text);
}

}  // namespace bmx
