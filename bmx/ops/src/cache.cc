#include "cache.h"

#include <mutex>
#include <unordered_map>

namespace bmx {
namespace {

// Values by key, each made once. An error is not kept.
template <typename Value>
class Cache {
 public:
  template <typename Function>
  std::shared_ptr<const Value> find(const std::string& key, const Function& make) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto known = values_.find(key);
    if (known != values_.end()) return known->second;
    const auto value = std::make_shared<const Value>(make());
    if (values_.size() == kMaxValues) values_.clear();
    values_.emplace(key, value);
    return value;
  }

 private:
  static constexpr size_t kMaxValues = 256;

  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const Value>> values_;
};

Cache<Program> programs;
Cache<Plan> plans;

}  // namespace

std::shared_ptr<const Program> parsed(const std::string& text, int64_t num_data, int64_t num_outputs) {
  const std::string key = std::to_string(num_data) + " to " + std::to_string(num_outputs) + ";" + text;
  return programs.find(key, [&] { return parse_program(text, num_data, num_outputs); });
}

std::shared_ptr<const Plan> planned(const std::string& text, int64_t num_outputs, const std::vector<Feature>& data) {
  std::string key;
  for (const Feature& feature : data) {
    for (int64_t number : {feature.channels, feature.size.height, feature.size.width}) {
      key += std::to_string(number) + ",";
    }
  }
  key += " to " + std::to_string(num_outputs) + ";" + text;
  return plans.find(key, [&] { return infer(*parsed(text, static_cast<int64_t>(data.size()), num_outputs), data); });
}

}  // namespace bmx
