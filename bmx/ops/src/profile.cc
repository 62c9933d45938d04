#include "profile.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "team.h"

namespace bmx {

std::atomic<bool> profiling{false};

namespace {

constexpr const char* kPhaseNames[] = {"packing", "gemm", "epilogue", "mapping"};
constexpr int kPhases = sizeof kPhaseNames / sizeof *kPhaseNames;

std::mutex mutex;
double spent[kPhases];
std::vector<double> instructions;

// Of a clock that only goes forward, in seconds.
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

void Stopwatch::start() {
  if (member() == 0) begin_ = now();
}

void Stopwatch::stop() {
  const double seconds = now() - begin_;
  std::lock_guard<std::mutex> lock(mutex);
  spent[static_cast<int>(phase_)] += seconds;
}

int64_t begin_instructions(int64_t count) {
  if (!profiling.load(std::memory_order_relaxed)) return -1;
  std::lock_guard<std::mutex> lock(mutex);
  instructions.resize(instructions.size() + count);
  return static_cast<int64_t>(instructions.size()) - count;
}

InstructionStopwatch::InstructionStopwatch(int64_t index) : index_(member() == 0 ? index : -1) {
  if (index_ >= 0) begin_ = now();
}

InstructionStopwatch::~InstructionStopwatch() {
  if (index_ < 0) return;
  const double seconds = now() - begin_;
  std::lock_guard<std::mutex> lock(mutex);
  if (index_ < static_cast<int64_t>(instructions.size())) instructions[index_] += seconds;
}

}  // namespace bmx

extern "C" {

// Starts measuring from zero, or stops.
void bmx_profile(int enabled) {
  std::lock_guard<std::mutex> lock(bmx::mutex);
  if (enabled) {
    for (double& seconds : bmx::spent) seconds = 0;
    bmx::instructions.clear();
  }
  bmx::profiling = enabled != 0;
}

// Name of phase `index`; null past their end.
const char* bmx_phase_name(int index) { return index >= 0 && index < bmx::kPhases ? bmx::kPhaseNames[index] : nullptr; }

// Seconds spent in each phase.
void bmx_profile_read(double* seconds) {
  std::lock_guard<std::mutex> lock(bmx::mutex);
  std::copy_n(bmx::spent, bmx::kPhases, seconds);
}

// Seconds spent in each instruction of the programs that ran, in their order, at most `capacity`; returns how many are
// known.
int bmx_profile_instructions(double* seconds, int capacity) {
  std::lock_guard<std::mutex> lock(bmx::mutex);
  const int count = static_cast<int>(bmx::instructions.size());
  std::copy_n(bmx::instructions.begin(), std::min(count, capacity), seconds);
  return count;
}

}  // extern "C"
