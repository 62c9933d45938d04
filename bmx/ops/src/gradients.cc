#include "gradients.h"

#include <algorithm>

#include "denormals.h"

namespace bmx {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kMostLanes = 64;      // of a chunk
constexpr double kSerialWork = 200000;  // below this many products starting threads costs more than it saves

// Pixels of a window of one pixel are adjacent, whatever the image.
GradientProblem simplified(GradientProblem problem) {
  const Window& window = problem.window;
  if (window.taps() == 1 && window.stride.pixels() == 1 && window.pad == Size{0, 0}) {
    problem.image = {1, problem.image.pixels()};
  }
  return problem;
}

}  // namespace

Chunks::Chunks(int64_t channels)
    : channels(channels),
      lanes(std::min(kMostLanes, round_up(channels, kFloatLanes))),
      count(ceil_div(channels, kMostLanes)) {}

Gradients::Gradients(const GradientProblem& given, const Kernel& kernel, Team* team)
    : Gradients(kernel, team, simplified(given)) {}

Gradients::Gradients(const Kernel& kernel, Team* team, const GradientProblem& problem)
    : kernel_(kernel),
      team_(team),
      is_small_(static_cast<double>(problem.images * problem.out().pixels()) *
                    static_cast<double>(problem.filters * problem.group_channels() * problem.window.taps()) <
                kSerialWork),
      has_small_groups_(SmallGradients::suits(problem)),
      small_(problem),
      data_(problem),
      weight_(problem),
      thread_bytes_(
          round_up(has_small_groups_ ? small_.thread_bytes() : std::max(data_.thread_bytes(), weight_.thread_bytes()),
                   kAlignment)) {}

int64_t Gradients::workspace_bytes() const {
  const int64_t threads = thread_bytes_ * (is_small_ ? 1 : team_->size());
  if (has_small_groups_) return kAlignment + threads;
  return kAlignment + round_up(data_.shared_bytes(), kAlignment) + round_up(weight_.shared_bytes(), kAlignment) +
         threads;
}

void Gradients::run(const GradientArrays& arrays, void* workspace) const {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(workspace);
  char* of_data = static_cast<char*>(workspace) + (round_up(begin, kAlignment) - begin);
  if (has_small_groups_) {
    const auto work = [&] {
      const ExactDenormals exact;
      deal(small_.tasks(),
           [&](int64_t task) { small_.compute(task, arrays, kernel_, of_data + member() * thread_bytes_); });
    };
    is_small_ ? work() : team_->run(work);
    return;
  }
  char* of_weight = of_data + round_up(data_.shared_bytes(), kAlignment);
  char* threads = of_weight + round_up(weight_.shared_bytes(), kAlignment);
  const auto work = [&] {
    const ExactDenormals exact;
    char* own = threads + member() * thread_bytes_;
    const int64_t prepared = data_.prepare_tasks(), computed = weight_.tasks();
    deal(prepared + weight_.prepare_tasks(), [&](int64_t task) {
      if (task < prepared) data_.prepare(task, arrays, of_data, own);
      else weight_.prepare(task - prepared, arrays, kernel_, of_weight, own);
    });
    deal(computed + data_.tasks(), [&](int64_t task) {  // the larger ones first
      if (task < computed) weight_.compute(task, arrays, kernel_, of_weight, own);
      else data_.compute(task - computed, arrays, kernel_, of_data, own);
    });
    deal(weight_.finish_tasks(), [&](int64_t task) { weight_.finish(task, arrays, kernel_, of_weight, own); });
  };
  is_small_ ? work() : team_->run(work);
}

}  // namespace bmx
