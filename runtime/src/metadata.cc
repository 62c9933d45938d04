#include "metadata.h"

#include <climits>
#include <cmath>
#include <set>

#include "error.h"
#include "json.h"

namespace bmx {
namespace {

constexpr int64_t kDigested = 4;  // the first format with both digests
constexpr size_t kMaxAxes = 16;
constexpr int kMaxDepth = 8;
constexpr int64_t kMaxNumber = int64_t{1} << 31;  // magnitude

// Functions that read a value tell whether it can be one.

bool read_digest(const Json& content, std::string* digest) {
  if (!content.is(Json::kString)) return false;
  *digest = content.string();
  return digest->size() == 64 && digest->find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool read_name(const Json& content, std::string* name) {
  if (!content.is(Json::kString)) return false;
  *name = content.string();
  for (unsigned char byte : *name) {
    if (byte < ' ' || byte == 0x7F) return false;
  }
  return true;
}

bool read_shape(const Json& content, std::vector<int64_t>* shape) {
  if (!content.is(Json::kArray) || content.array().size() > kMaxAxes) return false;
  int64_t values = 1;
  for (const Json& length : content.array()) {
    if (!length.is(Json::kInteger) || length.integer() < 1 || length.integer() > kMaxNumber / values) return false;
    values *= length.integer();
    shape->push_back(length.integer());
  }
  return true;
}

// Before format 4 they were written as they were given.
bool read_classes(const Json& content, bool may_be_numbers, std::vector<std::string>* classes) {
  if (content.is(Json::kNull)) return true;
  if (!content.is(Json::kArray)) return false;
  for (const Json& name : content.array()) {
    if (name.is(Json::kString)) classes->push_back(name.string());
    else if (may_be_numbers && name.is(Json::kInteger)) classes->push_back(std::to_string(name.integer()));
    else return false;
  }
  return true;
}

bool is_in(const Json& content, double least, double most) {
  return content.is_number() && content.number() >= least && content.number() <= most;
}

bool is_scalar(const Json& content) {
  return content.is(Json::kNull) || content.is(Json::kString) || content.is(Json::kBoolean) ||
         is_in(content, -kMaxNumber, kMaxNumber);
}

bool are_settings(const Json& content, int depth) {
  if (depth > kMaxDepth) return false;
  if (content.is(Json::kObject)) {
    for (const auto& member : content.object()) {
      if (!are_settings(member.second, depth + 1)) return false;
    }
    return true;
  }
  if (depth == 0) return false;
  if (!content.is(Json::kArray)) return is_scalar(content);
  for (const Json& value : content.array()) {
    if (!are_settings(value, depth + 1)) return false;
  }
  return true;
}

bool are_layer_defaults(const Json& content) {
  if (!content.is(Json::kObject)) return false;
  for (const auto& member : content.object()) {
    const Json& value = member.second;
    if (!is_scalar(value) && !(value.is(Json::kReal) && std::isinf(value.number()))) return false;
  }
  return true;
}

// Three numbers, one for each channel.
bool read_channels(const Json& content, double least, double most, float* values) {
  if (!content.is(Json::kArray) || content.array().size() != 3) return false;
  for (const Json& value : content.array()) {
    if (!is_in(value, least, most)) return false;
    *values++ = static_cast<float>(value.number());
  }
  return true;
}

bool read_sides(const Json& content, bmx_preprocess* to) {
  if (!content.is(Json::kArray) || content.array().size() != 2) return false;
  for (const Json& side : content.array()) {
    if (!side.is(Json::kInteger) || !is_in(side, 1, 1 << 14)) return false;
  }
  to->height = content.array()[0].integer();
  to->width = content.array()[1].integer();
  return true;
}

// What there is of it must be right; only a whole one is of use. Mean and deviation are those of values from 0 to 1.
bool read_preprocess(const Json& content, Metadata* metadata) {
  if (content.is(Json::kNull)) return true;
  if (!content.is(Json::kObject)) return false;
  const Json *size = content.find("size"), *ratio = content.find("crop_ratio"), *mean = content.find("mean"),
             *std = content.find("std");
  bmx_preprocess* to = &metadata->preprocess;
  if ((size && !read_sides(*size, to)) || (ratio && !is_in(*ratio, 1e-3, 1)) ||
      (mean && !read_channels(*mean, 0, 1, to->mean)) || (std && !read_channels(*std, 1e-3, 1, to->std))) {
    return false;
  }
  if (ratio) to->crop_ratio = ratio->number();
  metadata->has_preprocess = size && ratio && mean && std;
  return true;
}

// The names of what one has and the other has not.
std::string differing(const Json::Object& content, const std::set<std::string>& names) {
  std::string found;
  for (const auto& member : content) {
    if (!names.count(member.first)) found += (found.empty() ? "" : ", ") + member.first;
  }
  for (const std::string& name : names) {
    if (!content.count(name)) found += (found.empty() ? "" : ", ") + name;
  }
  return found;
}

}  // namespace

Metadata parse_metadata(const std::string& text, const std::string& path) {
  const std::string where = "the attribute __bmx__ of " + path;
  Json content;
  try {
    content = parse_json(text.data(), text.size());
  } catch (const Error& error) {
    fail(where, " is damaged: ", error.what());
  }
  if (!content.is(Json::kObject)) fail(where, " is damaged: it does not hold an object");
  Metadata metadata = {};
  const Json* format = content.find("format");
  if (!format || !format->is(Json::kInteger)) fail(where, " is damaged: it has no format");
  metadata.format = format->integer();
  if (metadata.format < 1 || metadata.format > kFormatVersion) {
    fail(path, " has format ", metadata.format, ", this version of bmx reads 1 to ", kFormatVersion);
  }
  const bool digested = metadata.format >= kDigested;
  std::set<std::string> names = {"input_shape", "params_sha256", "model",  "settings", "layer_defaults",
                                 "classes",     "preprocess",    "format", "bit_order"};
  if (digested) names.insert({"symbol_sha256", "exact"});
  const std::string wrong = differing(content.object(), names);
  if (!wrong.empty()) fail(where, " is damaged: see ", wrong.substr(0, 200));
  const Json& order = content.at("bit_order");
  if (!order.is(Json::kString) || order.string() != "lsb-first") {
    fail(path, " has bits in another order than lsb-first, the one that this version of bmx reads");
  }
  metadata.exact = !digested;
  const auto check = [&](const char* name, bool valid) {
    if (!valid) fail(path, " is damaged: its ", name, " cannot be what it says");
  };
  check("params_sha256", read_digest(content.at("params_sha256"), &metadata.params_sha256));
  if (digested) {
    check("symbol_sha256", read_digest(content.at("symbol_sha256"), &metadata.symbol_sha256));
    check("exact", content.at("exact").is(Json::kBoolean));
    metadata.exact = content.at("exact").boolean();
  }
  check("model", read_name(content.at("model"), &metadata.model));
  check("settings", are_settings(content.at("settings"), 0));
  check("layer_defaults", are_layer_defaults(content.at("layer_defaults")));
  check("classes", read_classes(content.at("classes"), !digested, &metadata.classes));
  if (!read_preprocess(content.at("preprocess"), &metadata)) {
    fail(path, " is damaged, or not from bmx: its preprocess cannot be what it says; of values from 0 to 1 a mean is ",
         "from 0 to 1, a deviation (std) from 0.001 to 1");
  }
  check("input_shape", read_shape(content.at("input_shape"), &metadata.input_shape));
  return metadata;
}

}  // namespace bmx
