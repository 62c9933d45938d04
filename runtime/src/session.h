// The threads and the memory to run a model.
#ifndef BMX_SESSION_H_
#define BMX_SESSION_H_

#include <cstdint>
#include <memory>

#include "kernels.h"
#include "model.h"
#include "team.h"

namespace bmx {

// For one thread at a time.
class Session {
 public:
  // `threads`: 0 for as many as default_threads().
  Session(std::shared_ptr<const Model> model, int threads, const Kernel& kernel);

  const Model& model() const { return *model_; }
  int threads() const { return team_.size(); }
  const Kernel& kernel() const { return kernel_; }

  // Throws Error where the model does not take an input of this shape.
  void run(const float* input, const Shape& shape, float* const* outputs);

 private:
  const std::shared_ptr<const Model> model_;
  const Kernel& kernel_;
  Team team_;
  Shape planned_;  // the shape that the plan is for, whatever the images are
  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<char[]> workspace_;
  int64_t workspace_bytes_ = 0;
};

// Processor cores that this process may use; hardware threads of one core count once.
int default_threads();

}  // namespace bmx

#endif  // BMX_SESSION_H_
