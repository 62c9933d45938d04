// Where the time goes: off unless a benchmark asks.
#ifndef BMX_PROFILE_H_
#define BMX_PROFILE_H_

#include <atomic>
#include <cstdint>

namespace bmx {

// packing: of activations and weights; gemm: of products, binary or float; epilogue: what follows a product before its
// result is in memory; mapping: the operation `map`. In the order of their names, profile.cc.
enum class Phase { kPacking, kGemm, kEpilogue, kMapping };

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

// Makes place for the times of a program's instructions; returns where they begin, or -1 while it is off.
int64_t begin_instructions(int64_t count);

// Adds the time of its scope to an instruction, in the first thread of a team; negative: to none.
class InstructionStopwatch {
 public:
  explicit InstructionStopwatch(int64_t index);
  ~InstructionStopwatch();
  InstructionStopwatch(const InstructionStopwatch&) = delete;
  InstructionStopwatch& operator=(const InstructionStopwatch&) = delete;

 private:
  int64_t index_;
  double begin_ = 0;
};

}  // namespace bmx

#endif  // BMX_PROFILE_H_
