// Running a plan.
#ifndef BMX_EXECUTION_H_
#define BMX_EXECUTION_H_

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "plan.h"
#include "task.h"
#include "team.h"

namespace bmx {

struct Array {
  void* values;
  int64_t size;
};

// The arrays of a call.
struct Arrays {
  int64_t images;
  std::vector<Array> data, parameters, outputs;
};

class Execution {
 public:
  // All that it is given must outlive it. Throws Error where the arrays are not those of the plan.
  Execution(const Plan& plan, const Arrays& arrays, const Kernel& kernel, Team* team);

  // Bytes of memory that run() needs.
  int64_t workspace_bytes() const { return workspace_bytes_ + kAlignment; }

  // Computes all images, one after the other: what one works on stays in the cache.
  void run(void* workspace) const;

 private:
  static constexpr int64_t kAlignment = 64;

  int64_t reserve(int64_t bytes);
  // The piece of an image that a task computes: all of it, a band of rows or a part of the channels.
  struct Piece {
    const Bands* bands;
    const Parts* parts;
    int64_t part;

    int64_t count() const { return bands ? bands->count : parts ? parts->count : 1; }
  };

  Piece piece(size_t instruction, int64_t part = 0) const;
  const void* problem(size_t instruction, const Piece& piece) const;
  bool is_local(int64_t slot, const Piece& piece) const;
  Slice whole(char kind, int64_t index, const Feature& feature, const Piece& piece, char* workspace) const;
  Slice slice(const Source& source, const Piece& piece, char* workspace) const;
  std::vector<Step> steps(const std::vector<PlannedStep>& steps, int64_t channels, const Piece& piece,
                          char* workspace) const;
  Binding bind(size_t instruction, const Piece& piece, char* workspace) const;
  void leave_part(size_t instruction, const Piece& piece, Binding* binding) const;

  const Plan& plan_;
  const Arrays& arrays_;
  const Kernel& kernel_;
  Team* team_;
  bool is_small_;  // for one thread
  int64_t workspace_bytes_ = 0;
  // where in the workspace these begin
  std::vector<int64_t> slots_, kept_;
  int64_t shared_, thread_memory_;
};

}  // namespace bmx

#endif  // BMX_EXECUTION_H_
