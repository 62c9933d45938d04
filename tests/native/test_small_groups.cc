// Kernel::spread and Kernel::look_up against plain loops.
#include "guarded.h"
#include "random.h"
#include "tests.h"

namespace {

Side any_side() { return random_word() % 2 ? Side::kFront : Side::kBack; }

// What is wrong with the kernel's result; empty if nothing. `extreme`: all weights differ, which overflows a narrow
// counter.
std::string look_up(const bmx::Kernel& kernel, int64_t count, int64_t groups, int64_t filters, bool extreme) {
  const int64_t reach = random_below(100), stride = 1 + random_below(300);
  std::vector<int64_t> offsets(count);
  for (int64_t& offset : offsets) offset = random_below(reach + 1);
  std::vector<uint8_t> indices((groups - 1) * stride + reach + bmx::kPositions);
  for (uint8_t& index : indices) index = extreme ? 15 : random_word() % 16;
  std::vector<uint16_t> entries(groups * filters * count);
  for (uint16_t& entry : entries) {
    const uint64_t bits = extreme ? 0xf0 : random_word();
    entry = static_cast<uint16_t>(bmx::lookup_entry(bits & 15, bits >> 4 & 15));
  }
  const Guarded<int64_t> guarded_offsets(offsets, any_side());
  const Guarded<uint8_t> guarded_indices(indices, any_side());
  const Guarded<uint16_t> guarded_entries(entries, any_side());
  Guarded<int16_t> out(groups * filters * bmx::kPositions, any_side());
  const int64_t bits = 4 * count - random_below(4);
  kernel.look_up({guarded_indices.data(), stride, guarded_offsets.data(), guarded_entries.data(), count, groups,
                  filters, bits, out.data()});
  for (int64_t f = 0; f < groups * filters; ++f) {
    for (int64_t p = 0; p < bmx::kPositions; ++p) {
      int64_t dot = bits;
      for (int64_t k = 0; k < count; ++k) {
        const int entry = entries[f * count + k], index = indices[f / filters * stride + offsets[k] + p];
        dot -= 2 * __builtin_popcount((index ^ entry >> 4) & entry >> 8 & 15);
      }
      if (out[f * bmx::kPositions + p] != dot) {
        return "filter " + std::to_string(f) + ", position " + std::to_string(p) + ": expected " + std::to_string(dot) +
               ", got " + std::to_string(out[f * bmx::kPositions + p]);
      }
    }
  }
  return out.intact_around() ? "" : "look_up writes outside of its output";
}

std::string spread(const bmx::Kernel& kernel, int64_t channels, int64_t field, int64_t taps, int64_t step,
                   int64_t pixels) {
  const int64_t rows = bmx::round_up(channels, 8) / field, stride = pixels + random_below(70);
  const int64_t all = pixels + bmx::round_up((taps - 1) * step, bmx::kPositions), depth = 1 + random_below(3);
  std::vector<uint64_t> words((all - 1) * depth + 1);
  for (uint64_t& word : words) word = random_word();
  const Guarded<uint64_t> guarded(words, any_side());
  Guarded<uint8_t> out((rows - 1) * stride + pixels, any_side());
  const uint8_t untouched = out[0];
  kernel.spread({guarded.data(), depth, channels, field, taps, step, pixels, out.data(), stride});
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t p = 0; p < (row + 1 < rows ? stride : pixels); ++p) {
      uint64_t index = p < pixels ? 0 : untouched;
      for (int64_t tap = 0; p < pixels && tap < taps; ++tap) {
        index |= (words[(p + tap * step) * depth] >> row * field & ((1 << field) - 1)) << tap * field;
      }
      if (out[row * stride + p] != index) {
        return "row " + std::to_string(row) + ", pixel " + std::to_string(p) + ": expected " + std::to_string(index) +
               ", got " + std::to_string(out[row * stride + p]);
      }
    }
  }
  return out.intact_around() ? "" : "spread writes outside of its output";
}

}  // namespace

void test_small_groups(std::vector<Contestant>* contestants, int64_t thinning) {
  const auto test = [&](const std::string& name, const auto& run) {
    for (Contestant& contestant : *contestants) {
      if (!contestant.failure.empty()) continue;
      announce(contestant.kernel->name, name);
      const std::string wrong = run(*contestant.kernel);
      if (!wrong.empty()) contestant.failure = name + ": " + wrong;
      ++contestant.small_groups;
    }
  };
  for (const int64_t count : {1, 2, 3, 9, 18, 62, 63, 64, 126, 127, 200}) {
    for (int64_t filters = 1; filters <= 17; ++filters) {
      for (const int64_t groups : {1, 2, 3, 7}) {
        if (random_below(thinning)) continue;
        const std::string name = "look_up, count " + std::to_string(count) + ", groups " + std::to_string(groups) +
                                 ", filters " + std::to_string(filters);
        test(name,
             [&](const bmx::Kernel& kernel) { return look_up(kernel, count, groups, filters, filters % 5 == 1); });
      }
    }
  }
  for (int64_t channels = 1; channels <= 64; ++channels) {
    for (const int64_t field : {1, 2, 4}) {
      for (int64_t taps = 1; taps <= 4 / field; ++taps) {
        if (random_below(thinning)) continue;
        const int64_t step = 1 + random_below(taps > 1 ? bmx::kSpreadReach / (taps - 1) : 1);
        const int64_t pixels = bmx::kPositions * (1 + random_below(bmx::kSpreadPixels / bmx::kPositions));
        const std::string name = "spread, channels " + std::to_string(channels) + ", fields of " +
                                 std::to_string(field) + ", taps " + std::to_string(taps) + ", step " +
                                 std::to_string(step) + ", pixels " + std::to_string(pixels);
        test(name, [&](const bmx::Kernel& kernel) { return spread(kernel, channels, field, taps, step, pixels); });
      }
    }
  }
}
