#include "profile.h"

#include <omp.h>

#include <mutex>

namespace bmx {

std::atomic<bool> profiling{false};

namespace {

std::mutex mutex;
double spent[kPhases];

}  // namespace

void Stopwatch::start() {
  if (omp_get_thread_num() == 0) begin_ = omp_get_wtime();
}

void Stopwatch::stop() {
  const double seconds = omp_get_wtime() - begin_;
  std::lock_guard<std::mutex> lock(mutex);
  spent[static_cast<int>(phase_)] += seconds;
}

}  // namespace bmx

extern "C" {

// Starts measuring from zero, or stops.
void bmx_profile(int enabled) {
  std::lock_guard<std::mutex> lock(bmx::mutex);
  if (enabled) {
    for (double& seconds : bmx::spent) seconds = 0;
  }
  bmx::profiling = enabled != 0;
}

// Seconds spent in packing, multiplying, finishing (what follows a product) and mapping.
void bmx_profile_read(double seconds[4]) {
  std::lock_guard<std::mutex> lock(bmx::mutex);
  for (int i = 0; i < bmx::kPhases; ++i) seconds[i] = bmx::spent[i];
}

}  // extern "C"
