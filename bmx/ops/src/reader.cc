#include "reader.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "error.h"

namespace bmx {
namespace {

constexpr int64_t kMaxIndex = 65535;  // of tensors and parameters

int64_t to_int(const std::string& text, int64_t least, int64_t most, const char* what) {
  char* end = nullptr;
  errno = 0;
  const int64_t value = std::strtoll(text.c_str(), &end, 10);
  const bool number = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  if (!number || *end || end != text.c_str() + text.size()) fail(what, " must be an integer, got '", text, "'");
  if (errno || value < least || value > most) fail(what, " must be between ", least, " and ", most, ", got ", text);
  return value;
}

// "p3"
int64_t to_parameter(const std::string& text) {
  if (text.empty() || text[0] != 'p') fail("'", text, "' is not a parameter (p0)");
  return to_int(text.substr(1), 0, kMaxIndex, "number of a parameter");
}

// "s3[0:64]"
Operand to_operand(const std::string& text) {
  const size_t open = text.find('['), colon = text.find(':');
  if (open == std::string::npos || colon == std::string::npos || colon < open || text.back() != ']') {
    fail("'", text, "' is not a slice like s0[0:64]");
  }
  Operand operand;
  operand.kind = text[0];
  if (operand.kind != 'x' && operand.kind != 's') {
    fail("'", text, "' is neither a data input (x0) nor a slot (s0)");
  }
  operand.index = to_int(text.substr(1, open - 1), 0, kMaxIndex,
                         operand.kind == 'x' ? "number of a data input" : "number of a slot");
  operand.begin = to_int(text.substr(open + 1, colon - open - 1), 0, INT_MAX, "first channel");
  operand.end = to_int(text.substr(colon + 1, text.size() - colon - 2), 0, INT_MAX, "end of channels");
  if (operand.begin >= operand.end) fail("'", text, "' has no channels");
  return operand;
}

// "y0", "y0:flat", or "s3:int16"
Destination to_destination(const std::string& text) {
  static const std::map<std::string, Layout> layouts = {
      {"int16", Layout::kShorts}, {"float32", Layout::kFloats}, {"planar", Layout::kPlanar}};
  const size_t colon = text.find(':');
  Destination destination;
  destination.kind = text.empty() ? ' ' : text[0];
  destination.flat = colon != std::string::npos && text.substr(colon) == ":flat";
  if (destination.kind == 'y' && (destination.flat || colon == std::string::npos)) {
    destination.index =
        to_int(text.substr(1, destination.flat ? colon - 1 : colon), 0, kMaxIndex, "number of an output");
    return destination;
  }
  if (destination.kind != 's' || colon == std::string::npos) {
    fail("'", text, "' is neither an output (y0, y0:flat) nor a slot with its type (s0:int16)");
  }
  destination.index = to_int(text.substr(1, colon - 1), 0, kMaxIndex, "number of a slot");
  const auto layout = layouts.find(text.substr(colon + 1));
  if (layout == layouts.end()) {
    fail("unknown type '", text.substr(colon + 1), "' of a slot; valid types: int16, float32, planar");
  }
  destination.layout = layout->second;
  return destination;
}

// "norm:p3"
StepText to_step(const std::string& text) {
  static const std::map<std::string, Step::Kind> kinds = {{"mul", Step::kMultiply},
                                                          {"add", Step::kAdd},
                                                          {"norm", Step::kNormalize},
                                                          {"relu", Step::kRectify},
                                                          {"prelu", Step::kParametricRectify},
                                                          {"plus", Step::kPlus},
                                                          {"repeat", Step::kPlus}};
  const size_t colon = std::min(text.find(':'), text.size());
  const auto kind = kinds.find(text.substr(0, colon));
  if (kind == kinds.end()) fail("unknown step '", text, "'; valid steps: mul, add, norm, relu, prelu, plus, repeat");
  if ((kind->second == Step::kRectify) != (colon == text.size())) fail("'", text, "' is not a step");
  StepText step = {kind->second, -1, {}, kind->first == "repeat"};
  if (kind->second == Step::kPlus) step.addend = to_operand(text.substr(colon + 1));
  else if (kind->second != Step::kRectify) step.parameter = to_parameter(text.substr(colon + 1));
  return step;
}

}  // namespace

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

Reader::Reader(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) fail("'", word, "' is not key=value");
    const std::string key = word.substr(0, equals);
    if (!values_.emplace(key, word.substr(equals + 1)).second) fail("two values of ", key);
  }
}

void Reader::require(const char* key) {
  if (!values_.count(key)) fail(key, " is required");
}

const std::string* Reader::take(const char* key) {
  known_ += std::string(known_.empty() ? "" : ", ") + key;
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  taken_.push_back(std::move(found->second));
  values_.erase(found);
  return &taken_.back();
}

bool Reader::integer(const char* key, int64_t least, int64_t most, int64_t* value) {
  const std::string* text = take(key);
  if (text) *value = to_int(*text, least, most, key);
  return text;
}

bool Reader::flag(const char* key, bool* value) {
  const std::string* text = take(key);
  if (text) *value = to_int(*text, 0, 1, key);
  return text;
}

// "3,3"
bool Reader::size(const char* key, int64_t least, Size* value) {
  const std::string* text = take(key);
  if (!text) return false;
  const std::vector<std::string> parts = split(*text, ',');
  if (parts.size() != 2) fail(key, " must be two integers, got '", *text, "'");
  *value = {to_int(parts[0], least, INT_MAX, key), to_int(parts[1], least, INT_MAX, key)};
  return true;
}

void Reader::window(Window* window) {
  require("kernel");
  size("kernel", 1, &window->size);
  size("stride", 1, &window->stride);
  size("pad", 0, &window->pad);
}

bool Reader::pool(const char* key, Pool* pool) {
  const std::string* text = take(key);
  if (!text) return false;
  if (*text != "max" && *text != "avg") fail(key, " must be max or avg, got '", *text, "'");
  *pool = *text == "max" ? Pool::kMax : Pool::kAverage;
  return true;
}

bool Reader::parameter(const char* key, int64_t* index) {
  const std::string* text = take(key);
  if (text) *index = to_parameter(*text);
  return text;
}

bool Reader::operands(const char* key, std::vector<Operand>* operands) {
  const std::string* text = take(key);
  if (!text) return false;
  for (const std::string& slice : split(*text, ',')) operands->push_back(to_operand(slice));
  return true;
}

bool Reader::destination(const char* key, Destination* destination) {
  const std::string* text = take(key);
  if (text) *destination = to_destination(*text);
  return text;
}

bool Reader::steps(const char* key, std::vector<StepText>* steps) {
  const std::string* text = take(key);
  if (!text) return false;
  for (const std::string& step : split(*text, '|')) steps->push_back(to_step(step));
  return true;
}

void Reader::check_all_taken() const {
  if (!values_.empty()) fail("unknown key '", values_.begin()->first, "'; valid keys: ", known_);
}

}  // namespace bmx
