#include "attributes.h"

#include <locale.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "error.h"

namespace bmx {
namespace {

const std::string* find(const Attributes& attributes, const std::string& name) {
  const auto found = attributes.find(name);
  return found == attributes.end() ? nullptr : &found->second;
}

[[noreturn]] void unreadable(const std::string& name, const std::string& text, const char* wanted) {
  fail(name, " must be ", wanted, ", got '", text, "'");
}

}  // namespace

void check_names(const Attributes& attributes, const std::vector<std::string>& known) {
  for (const auto& attribute : attributes) {
    const std::string& name = attribute.first;
    if (name.compare(0, 2, "__") == 0 || std::count(known.begin(), known.end(), name)) continue;
    std::string names;
    for (const auto& valid : known) names += (names.empty() ? "" : ", ") + valid;
    fail("unknown attribute '", name, "'; valid names: ", names);
  }
}

int64_t get_int(const Attributes& attributes, const std::string& name, int64_t missing) {
  const std::string* text = find(attributes, name);
  if (!text) return missing;
  char* end = nullptr;
  errno = 0;
  const int64_t value = std::strtoll(text->c_str(), &end, 10);
  if (errno || text->empty() || end != text->c_str() + text->size()) unreadable(name, *text, "an integer");
  return value;
}

double get_double(const Attributes& attributes, const std::string& name, double missing) {
  const std::string* text = find(attributes, name);
  if (!text) return missing;
  static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", nullptr);  // a point, whatever the program has set
  char* end = nullptr;
  const double value = strtod_l(text->c_str(), &end, c_locale);
  if (end == text->c_str() || *end) unreadable(name, *text, "a number");
  return value;
}

bool get_bool(const Attributes& attributes, const std::string& name, bool missing) {
  const std::string* text = find(attributes, name);
  if (!text) return missing;
  if (*text == "True" || *text == "true" || *text == "1") return true;
  if (*text == "False" || *text == "false" || *text == "0") return false;
  unreadable(name, *text, "True or False");
}

std::string get_string(const Attributes& attributes, const std::string& name, const std::string& missing) {
  const std::string* text = find(attributes, name);
  return text ? *text : missing;
}

std::vector<int64_t> get_tuple(const Attributes& attributes, const std::string& name) {
  std::vector<int64_t> values;
  const std::string* text = find(attributes, name);
  if (!text) return values;
  const char* wanted = "a tuple of integers";
  std::string inner = *text;
  const bool open = !inner.empty() && (inner.front() == '(' || inner.front() == '[');
  if (open) {
    if (inner.size() < 2 || inner.back() != (inner.front() == '(' ? ')' : ']')) unreadable(name, *text, wanted);
    inner = inner.substr(1, inner.size() - 2);
  } else if (inner.find(',') != std::string::npos) {
    unreadable(name, *text, wanted);
  }
  const char* at = inner.c_str();
  for (;;) {
    while (*at == ' ') ++at;
    if (at == inner.c_str() + inner.size()) break;
    char* end = nullptr;
    errno = 0;
    values.push_back(std::strtoll(at, &end, 10));
    if (errno || end == at) unreadable(name, *text, wanted);
    for (at = end; *at == ' ';) ++at;
    if (*at == ',') ++at;
    else if (*at) unreadable(name, *text, wanted);
  }
  if (!open && values.empty()) unreadable(name, *text, wanted);
  return values;
}

void check_range(const char* name, int64_t value, int64_t least) {
  if (value < least || value > INT_MAX) fail(name, " must be between ", least, " and ", INT_MAX, ", got ", value);
}

}  // namespace bmx
