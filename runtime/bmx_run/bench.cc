#include "bench.h"

#include <algorithm>
#include <chrono>
#include <random>

namespace bmx_run {
namespace {

constexpr double kSeconds = 2;
constexpr size_t kLeast = 20, kMost = 100000;  // runs
constexpr int kUncounted = 3;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

size_t count(const bmx::Shape& shape) {
  size_t values = 1;
  for (const int64_t size : shape) values *= static_cast<size_t>(size);
  return values;
}

}  // namespace

Latency summarize(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const size_t runs = times.size();
  const double median = (times[(runs - 1) / 2] + times[runs / 2]) / 2;
  return {runs, times.front(), median, times[(99 * runs + 99) / 100 - 1]};
}

Latency measure(const bmx::Model& model, bmx::Session* session, const std::vector<float>& input,
                const bmx::Shape& shape) {
  std::vector<std::vector<float>> outputs;
  std::vector<float*> arrays;
  for (int64_t index = 0; index < model.num_outputs(); ++index) {
    outputs.emplace_back(count(model.output_shape(shape, index)));
    arrays.push_back(outputs.back().data());
  }
  for (int run = 0; run < kUncounted; ++run) session->run(input.data(), shape, arrays.data());
  std::vector<double> times;
  for (const double end = now() + kSeconds; times.size() < kLeast || (times.size() < kMost && now() < end);) {
    const double start = now();
    session->run(input.data(), shape, arrays.data());
    times.push_back(1e3 * (now() - start));
  }
  return summarize(std::move(times));
}

std::vector<float> noise(const bmx::Shape& shape) {
  std::minstd_rand random;
  std::vector<float> values(count(shape));
  for (float& value : values) {
    const double share = static_cast<double>(random()) / static_cast<double>(std::minstd_rand::max());
    value = static_cast<float>(4 * share - 2);
  }
  return values;
}

}  // namespace bmx_run
