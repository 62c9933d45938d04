#include "plans.h"

#include <mutex>
#include <unordered_map>

namespace bmx {
namespace {

constexpr size_t kMaxPrograms = 256;

// The program of `key`, which is made once. An error is not kept.
template <typename Function>
std::shared_ptr<const Program> remember(const std::string& key, const Function& make) {
  static std::mutex mutex;
  static std::unordered_map<std::string, std::shared_ptr<const Program>> programs;
  std::lock_guard<std::mutex> lock(mutex);
  const auto known = programs.find(key);
  if (known != programs.end()) return known->second;
  const auto program = std::make_shared<const Program>(make());
  if (programs.size() == kMaxPrograms) programs.clear();
  programs.emplace(key, program);
  return program;
}

}  // namespace

std::shared_ptr<const Program> parsed(const std::string& text, int64_t num_data, int64_t num_outputs) {
  const std::string key = std::to_string(num_data) + " to " + std::to_string(num_outputs) + ";" + text;
  return remember(key, [&] { return parse_program(text, num_data, num_outputs); });
}

std::shared_ptr<const Program> planned(const std::string& text, int64_t num_outputs, const std::vector<Feature>& data) {
  std::string key;
  for (const Feature& feature : data) {
    for (int64_t number : {feature.channels, feature.size.height, feature.size.width}) {
      key += std::to_string(number) + ",";
    }
  }
  key += " to " + std::to_string(num_outputs) + ";" + text;
  return remember(key, [&] {
    Program program = parse_program(text, static_cast<int64_t>(data.size()), num_outputs);
    infer(data, &program);
    return program;
  });
}

}  // namespace bmx
