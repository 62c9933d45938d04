// Running a program whose shapes are known.
#ifndef BMX_EXECUTION_H_
#define BMX_EXECUTION_H_

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "program.h"
#include "tile.h"

namespace bmx {

// The arrays of a call.
struct Arrays {
  struct Array {
    void* values;
    int64_t size;
  };
  int64_t images;
  std::vector<Array> data, parameters, outputs;
};

class Execution {
 public:
  Execution(const Program& program, const Arrays& arrays);

  // Bytes of memory that run() needs.
  int64_t workspace_bytes() const { return workspace_bytes_ + kAlignment; }

  // Computes all images, one after the other: what one works on stays in the cache.
  void run(void* workspace) const;

 private:
  static constexpr int64_t kAlignment = 64;

  int64_t reserve(int64_t bytes);
  Slice slice(const Operand& operand, char* workspace) const;
  Slice out_slice(const Instruction& instruction, char* workspace) const;
  std::vector<Step> steps(const std::vector<StepText>& steps, int64_t channels, char* workspace) const;
  std::vector<Slice> slices(const std::vector<Operand>& operands, char* workspace) const;

  const Program& program_;
  const Arrays& arrays_;
  const Kernel& kernel_;
  int threads_;
  int64_t workspace_bytes_ = 0;
  // where in the workspace these begin
  std::vector<int64_t> slots_, weights_;
  int64_t activations_, thread_memory_;
};

}  // namespace bmx

#endif  // BMX_EXECUTION_H_
