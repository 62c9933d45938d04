// Where the time goes: off unless a benchmark asks.
#ifndef BMX_PROFILE_H_
#define BMX_PROFILE_H_

#include <atomic>

namespace bmx {

enum class Phase { kPack, kMultiply, kFinish, kMap };
constexpr int kPhases = 4;

extern std::atomic<bool> profiling;

// Adds the time of its scope to a phase, in the first thread of a team.
class Stopwatch {
 public:
  explicit Stopwatch(Phase phase) : phase_(phase) {
    if (profiling.load(std::memory_order_relaxed)) start();
  }
  ~Stopwatch() {
    if (begin_ >= 0) stop();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  void start();
  void stop();

  Phase phase_;
  double begin_ = -1;
};

}  // namespace bmx

#endif  // BMX_PROFILE_H_
