#include "session.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "error.h"
#include "memory.h"

namespace bmx {
namespace {

constexpr int kMaxThreads = 1024;

int checked(int threads) {
  if (threads < 0 || threads > kMaxThreads) fail("threads must be between 0 and ", kMaxThreads, ", got ", threads);
  return threads ? threads : default_threads();
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, int threads, const Kernel& kernel)
    : model_(std::move(model)), kernel_(kernel), team_(checked(threads)) {}

void Session::run(const float* input, const Shape& shape, float* const* outputs) {
  if (!plan_ || planned_.size() != shape.size() || !std::equal(shape.begin() + 1, shape.end(), planned_.begin() + 1) ||
      shape[0] < 0 || shape[0] > kMaxValues) {
    plan_ = model_->plan(shape);
    planned_ = shape;
  }
  const Arrays arrays = model_->arrays(*plan_, shape[0], input, outputs);
  const Execution execution(*plan_, arrays, kernel_, &team_);
  if (execution.workspace_bytes() > workspace_bytes_) {
    workspace_bytes_ = 0;  // where there is not enough
    workspace_.reset();
    workspace_ = allocate<char>(execution.workspace_bytes());
    workspace_bytes_ = execution.workspace_bytes();
  }
  execution.run(workspace_.get());
}

int default_threads() {
  std::set<std::string> cores;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      const std::string name = "cpu" + std::to_string(cpu);
      std::ifstream file("/sys/devices/system/cpu/" + name + "/topology/thread_siblings_list");
      std::string siblings;
      cores.insert(std::getline(file, siblings) ? siblings : name);
    }
  }
  const size_t count = cores.empty() ? std::thread::hardware_concurrency() : cores.size();
  return static_cast<int>(std::min<size_t>(std::max<size_t>(count, 1), kMaxThreads));
}

}  // namespace bmx
