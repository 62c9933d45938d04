// What computes an instruction: tasks, and what they work on.
#ifndef BMX_TASK_H_
#define BMX_TASK_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "kernels.h"
#include "tile.h"

namespace bmx {

// Bytes that a task works in.
struct Memory {
  int64_t shared;  // by all threads, while it runs
  int64_t kept;    // from one image to the next
  int64_t thread;  // of each thread
};

// What a task is bound to. Memory is 64-byte aligned.
struct Binding {
  const Kernel& kernel;
  std::vector<Slice> in;  // what is concatenated
  std::vector<Step> before, steps;
  Slice out;
  std::vector<const void*> parameters;  // beside those of steps
  char *shared, *kept, *threads;

  // The values of a parameter; null of -1.
  template <typename Value>
  const Value* parameter(int index) const {
    return index < 0 ? nullptr : static_cast<const Value*>(parameters[index]);
  }
};

class Task {
 public:
  virtual ~Task() = default;

  // Computes an image; all threads of a team call it, image 0 first.
  virtual void run(int64_t image) const = 0;
};

}  // namespace bmx

#endif  // BMX_TASK_H_
