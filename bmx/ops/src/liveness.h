// What instructions of a plan read and write, and for how long.
#ifndef BMX_LIVENESS_H_
#define BMX_LIVENESS_H_

#include <cstdint>

#include "plan.h"

namespace bmx {

template <typename Function>
void for_each_source(const PlannedInstruction& instruction, const Function& function) {
  for (const Source& source : instruction.in) function(source);
  for (const auto* steps : {&instruction.before, &instruction.steps}) {
    for (const PlannedStep& step : *steps) {
      if (step.kind == Step::kPlus) function(step.addend);
    }
  }
}

inline bool reads(const PlannedInstruction& instruction, int64_t slot) {
  bool found = false;
  for_each_source(instruction, [&](const Source& source) {
    found = found || (source.operand.kind == 's' && source.operand.index == slot);
  });
  return found;
}

inline bool writes(const PlannedInstruction& instruction, int64_t slot) {
  return instruction.to.kind == 's' && instruction.to.index == slot;
}

// Does an instruction from `begin` on read what a slot holds before it?
inline bool is_read_from(const Plan& plan, size_t begin, int64_t slot) {
  for (size_t i = begin; i < plan.instructions.size(); ++i) {
    if (reads(plan.instructions[i], slot)) return true;
    if (writes(plan.instructions[i], slot)) return false;
  }
  return false;
}

}  // namespace bmx

#endif  // BMX_LIVENESS_H_
