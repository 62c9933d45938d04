#include "text.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace bmx_run {
namespace {

// Controls, formats, surrogates, separators other than the space, and what is for private use.
constexpr uint32_t kHidden[][2] = {{0x0, 0x1f},        {0x7f, 0xa0},       {0xad, 0xad},       {0x600, 0x605},
                                   {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
                                   {0x8e2, 0x8e2},     {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},
                                   {0x2028, 0x202f},   {0x205f, 0x2064},   {0x2066, 0x206f},   {0x3000, 0x3000},
                                   {0xd800, 0xf8ff},   {0xfeff, 0xfeff},   {0xfff9, 0xfffb},   {0x110bd, 0x110bd},
                                   {0x110cd, 0x110cd}, {0x13430, 0x13438}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
                                   {0xe0001, 0xe0001}, {0xe0020, 0xe007f}, {0xf0000, 0xffffd}, {0x100000, 0x10fffd}};

bool is_hidden(uint32_t point) {
  for (const auto& range : kHidden) {
    if (range[0] <= point && point <= range[1]) return true;
  }
  return false;
}

// Takes one character off the text, whose bytes are `length`; a byte that is no UTF-8 is 0xdc00 more.
uint32_t next_point(const std::string& text, size_t at, size_t* length) {
  const auto byte = [&](size_t index) {
    return at + index < text.size() ? static_cast<uint8_t>(text[at + index]) : 0u;
  };
  const uint32_t first = byte(0);
  *length = 1;
  if (first < 0x80) return first;
  const size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  uint32_t point = first & (0x3fu >> more);
  for (size_t index = 1; index <= more; ++index) {
    if ((byte(index) & 0xc0) != 0x80) return 0xdc00 + first;
    point = point << 6 | (byte(index) & 0x3f);
  }
  const bool surrogate = point >= 0xd800 && point < 0xe000;
  if (first < 0xc0 || first > 0xf4 || point < least[more] || point > 0x10ffff || surrogate) return 0xdc00 + first;
  *length = more + 1;
  return point;
}

std::string hex(const char* format, uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, format, static_cast<unsigned>(value));
  return text;
}

}  // namespace

std::string printable(const std::string& text, bool line) {
  std::string shown;
  size_t length;
  for (size_t at = 0; at < text.size(); at += length) {
    const uint32_t point = next_point(text, at, &length);
    if (point == '\n') shown += line ? "\\n" : "\n";
    else if (point == '\t') shown += "\\t";
    else if (point == '\r') shown += "\\r";
    else if (!is_hidden(point)) shown += text.substr(at, length);
    else shown += hex(point < 0x100 ? "\\x%02x" : point < 0x10000 ? "\\u%04x" : "\\U%08x", point);
  }
  return shown;
}

std::string json_string(const std::string& text) {
  static const std::string escaped = "\"\\\b\f\n\r\t", names = "\"\\bfnrt";
  std::string quoted = "\"";
  size_t length;
  for (size_t at = 0; at < text.size(); at += length) {
    const uint32_t point = next_point(text, at, &length);
    const size_t name = point < 0x80 ? escaped.find(static_cast<char>(point)) : std::string::npos;
    if (name != std::string::npos) {
      quoted += '\\';
      quoted += names[name];
    } else if (point >= ' ' && point < 0x7f) {
      quoted += static_cast<char>(point);
    } else if (point < 0x10000) {
      quoted += hex("\\u%04x", point);
    } else {
      quoted += hex("\\u%04x", 0xd800 + ((point - 0x10000) >> 10)) + hex("\\u%04x", 0xdc00 + (point & 0x3ff));
    }
  }
  return quoted + '"';
}

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  char text[32];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  std::string number = text;
  // few digits of a large number come with an exponent
  if (std::fabs(value) >= 1 && std::fabs(value) < 1e16 && number.find('e') != std::string::npos) {
    std::snprintf(text, sizeof text, "%.0f", value);
    number = text;
  }
  return number.find_first_of(".e") == std::string::npos ? number + ".0" : number;
}

}  // namespace bmx_run
