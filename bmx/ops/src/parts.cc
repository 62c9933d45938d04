#include "parts.h"

#include <algorithm>

#include "liveness.h"
#include "operations.h"

namespace bmx {
namespace {

bool adds(const PlannedInstruction& instruction) {
  for (const auto* steps : {&instruction.before, &instruction.steps}) {
    for (const PlannedStep& step : *steps) {
      if (step.kind == Step::kPlus) return true;
    }
  }
  return false;
}

bool is_banded(const Plan& plan, size_t instruction) {
  return std::any_of(plan.bands.begin(), plan.bands.end(),
                     [&](const Bands& bands) { return bands.holds(instruction); });
}

// Instruction `begin` and the next one as parts; count 0 where they cannot or need not be.
Parts parts_at(const Plan& plan, size_t begin, const CacheLimits& limits) {
  Parts parts = {begin, 0, {}, {}};
  const PlannedInstruction &producer = plan.instructions[begin], &consumer = plan.instructions[begin + 1];
  const Feature& between = producer.out;
  if (producer.to.kind != 's' || between.layout != Layout::kPlanar || between.bytes() < limits.least) return parts;
  const Operand& read = consumer.in[0].operand;
  if (consumer.in.size() > 1 || !producer.to.holds(read) || read.channels() != between.channels) return parts;
  if (adds(producer) || adds(consumer) || is_read_from(plan, begin + 2, producer.to.index)) return parts;
  if (reads(producer, producer.to.index) || writes(consumer, producer.to.index)) return parts;
  if (consumer.to.kind == 's' && reads(producer, consumer.to.index)) return parts;  // later parts still read it
  for (int64_t count = 2; count <= std::min(between.channels, kMostPieces); ++count) {
    if (between.channels % count || consumer.out.channels % count) continue;
    const Part first = producer.operation->part(producer.problem.get(), count);
    const Part second = consumer.operation->part(consumer.problem.get(), count);
    if (!first.problem || !second.problem || !second.cuts_input) continue;
    parts = {begin, count, first, second};
    if (between.bytes() / count <= limits.most) break;
  }
  return parts;
}

}  // namespace

std::vector<Parts> find_parts(const Plan& plan, const CacheLimits& limits) {
  std::vector<Parts> found;
  for (size_t i = 0; i + 1 < plan.instructions.size(); ++i) {
    if (is_banded(plan, i) || is_banded(plan, i + 1)) continue;
    const Parts parts = parts_at(plan, i, limits);
    if (!parts.count) continue;
    found.push_back(parts);
    ++i;
  }
  return found;
}

}  // namespace bmx
