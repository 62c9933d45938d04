#include "bands.h"

#include <algorithm>
#include <map>

#include "liveness.h"
#include "operations.h"

namespace bmx {
namespace {

int64_t greatest_divisor(int64_t a, int64_t b) { return b ? greatest_divisor(b, a % b) : a; }

bool same(const Feature& a, const Feature& b) {
  return a.layout == b.layout && a.channels == b.channels && a.size == b.size;
}

// What a chain does to a slot.
struct Use {
  std::vector<Feature> features;  // that it has, each once
  bool read_first;                // it holds something that was written before the chain
  bool handed_on = false;         // what one instruction writes, a later one reads

  void add(const Feature& feature) {
    const auto known =
        std::find_if(features.begin(), features.end(), [&](const Feature& x) { return same(x, feature); });
    if (known == features.end()) features.push_back(feature);
  }
  int64_t bytes() const {
    int64_t most = 0;
    for (const Feature& feature : features) most = std::max(most, feature.bytes());
    return most;
  }
};

// Of slots alone, row by row.
bool can_be_banded(const PlannedInstruction& instruction) {
  bool slots = instruction.to.kind == 's';
  for_each_source(instruction, [&](const Source& source) { slots = slots && source.operand.kind == 's'; });
  return slots && instruction.operation->band(instruction.problem.get(), 1);
}

// The instructions [begin, end) as bands; count 0 where they cannot or need not be.
Bands chain(const Plan& plan, size_t begin, size_t end, const CacheLimits& limits) {
  Bands bands = {begin, end, 0, {}, {}};
  std::map<int64_t, Use> uses;
  int64_t common = 0;  // divisor of all heights
  for (size_t i = begin; i < end; ++i) {
    const PlannedInstruction& instruction = plan.instructions[i];
    for_each_source(instruction, [&](const Source& source) {
      uses.insert({source.operand.index, {{}, true}}).first->second.add(source.feature);
      common = greatest_divisor(source.feature.size.height, common);
    });
    const auto written = uses.insert({instruction.to.index, {{}, false}});
    written.first->second.add(instruction.out);
    for (size_t later = i + 1; later < end; ++later) {
      written.first->second.handed_on |= reads(plan.instructions[later], instruction.to.index);
    }
    common = greatest_divisor(instruction.out.size.height, common);
  }
  int64_t all = 0, saved = 0;
  for (const auto& entry : uses) {
    const Use& use = entry.second;
    all += use.bytes();
    if (use.read_first || is_read_from(plan, end, entry.first)) {
      if (use.features.size() > 1) return bands;  // a band of one would be written where another still holds others
    } else {
      bands.local.push_back(entry.first);
    }
    if (use.handed_on) saved += use.bytes();
  }
  if (saved < limits.least) return bands;
  for (int64_t count = 2; count <= std::min(common, kMostPieces); ++count) {
    if (common % count) continue;
    bands.count = count;
    if (all / count <= limits.most) break;
  }
  for (size_t i = begin; bands.count && i < end; ++i) {
    const PlannedInstruction& instruction = plan.instructions[i];
    bands.problems.push_back(instruction.operation->band(instruction.problem.get(), bands.count));
  }
  return bands;
}

}  // namespace

bool Bands::is_local(int64_t slot) const { return std::find(local.begin(), local.end(), slot) != local.end(); }

std::vector<Bands> find_bands(const Plan& plan, const CacheLimits& limits) {
  std::vector<Bands> found;
  const size_t count = plan.instructions.size();
  for (size_t begin = 0; begin < count;) {
    size_t end = begin;
    while (end < count && can_be_banded(plan.instructions[end])) ++end;
    Bands bands = {};
    for (; end > begin + 1 && !bands.count; --end) bands = chain(plan, begin, end, limits);
    if (bands.count) found.push_back(bands);
    begin = bands.count ? bands.end : begin + 1;
  }
  return found;
}

}  // namespace bmx
