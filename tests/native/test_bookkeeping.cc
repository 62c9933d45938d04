// What is kept between calls: parsed programs and plans (cache.h), and the times of profile.h.
#include <cstdio>
#include <string>

#include "cache.h"
#include "error.h"
#include "profile.h"
#include "tests.h"

extern "C" {
const char* bmx_phase_name(int index);
void bmx_profile(int enabled);
void bmx_profile_read(double* seconds);
int bmx_profile_instructions(double* seconds, int capacity);
}

namespace {

using bmx::Feature;
using bmx::Phase;

constexpr int kPhases = 4;
constexpr int kMany = 600;  // more values than a cache keeps

std::string program(int64_t channels) { return "map in=x0[0:" + std::to_string(channels) + "] out=y0 steps=relu"; }

Feature feature(int64_t channels, int64_t height) { return {bmx::Layout::kPlanar, channels, {height, 5}, 0}; }

bool fails(const std::string& text) {
  try {
    bmx::planned(text, 1, {feature(3, 4)});
  } catch (const bmx::Error&) {
    return true;
  }
  return false;
}

// What is wrong; empty if nothing.
std::string caches() {
  const auto plan = bmx::planned(program(3), 1, {feature(3, 4)});
  if (bmx::planned(program(3), 1, {feature(3, 4)}) != plan) return "a plan is made twice";
  if (bmx::planned(program(3), 1, {feature(3, 6)})->instructions[0].out.size.height != 6)
    return "a plan of another size";
  if (bmx::parsed(program(3), 1, 1) != bmx::parsed(program(3), 1, 1)) return "a program is parsed twice";
  if (!fails(program(4)) || !fails(program(4)) || !fails("map") || !fails("map")) return "an error is kept";
  for (int64_t channels = 1; channels <= kMany; ++channels) {
    const auto each = bmx::planned(program(channels), 1, {feature(channels, 4)});
    if (each->instructions[0].out.channels != channels) return "a plan of another program";
  }
  return plan->instructions[0].out.channels == 3 ? "" : "a plan in use changes";
}

std::string profiles() {
  const Phase phases[kPhases] = {Phase::kPacking, Phase::kGemm, Phase::kEpilogue, Phase::kMapping};
  const std::string names[kPhases] = {"packing", "gemm", "epilogue", "mapping"};
  for (int i = 0; i < kPhases; ++i) {
    const char* name = bmx_phase_name(static_cast<int>(phases[i]));
    if (!name || name != names[i]) return "phase " + names[i] + " has another name";
  }
  if (bmx_phase_name(kPhases) || bmx_phase_name(-1)) return "there are more phases";
  bmx_profile(0);
  if (bmx::begin_instructions(2) != -1) return "instructions are timed while it is off";
  bmx_profile(1);
  if (bmx::begin_instructions(2) != 0 || bmx::begin_instructions(1) != 2) return "instructions begin elsewhere";
  for (int i = 0; i < 1000; ++i) {
    const bmx::Stopwatch stopwatch(Phase::kEpilogue);
    const bmx::InstructionStopwatch of_instruction(1), of_none(-1);
  }
  double spent[kPhases], instructions[3];
  bmx_profile_read(spent);
  if (bmx_profile_instructions(instructions, 3) != 3) return "instructions get lost";
  bmx_profile(0);
  for (int i = 0; i < kPhases; ++i) {
    if ((spent[i] > 0) != (phases[i] == Phase::kEpilogue)) return "time of " + names[i] + " is wrong";
  }
  return instructions[1] > 0 && instructions[0] == 0 && instructions[2] == 0 ? "" : "an instruction has others' time";
}

}  // namespace

bool bookkeeping_works() {
  bool works = true;
  for (const std::string& wrong : {caches(), profiles()}) {
    if (wrong.empty()) continue;
    std::printf("bookkeeping: %s\n", wrong.c_str());
    works = false;
  }
  return works;
}
