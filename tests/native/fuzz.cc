// Random programs and damaged ones: with every kernel they give what plain loops give, or a bmx::Error.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>

#include "error.h"
#include "execution.h"
#include "generator.h"
#include "operations.h"
#include "programs.h"
#include "tests.h"

namespace {

constexpr double kMaxWork = 6e6;          // of plain loops, for a case
constexpr int64_t kMaxMemory = 32 << 20;  // bytes of a case's arrays, of its workspace
constexpr int kMaxSeconds = 120;          // of a case
constexpr int64_t kMaxProcess = 2 << 20;  // KiB of the process

// Can plain loops compute it in little time and memory?
bool is_small(const bmx::Plan& plan) {
  Cost all = {0, 0};
  for (const bmx::Feature& feature : plan.data) all.values += static_cast<double>(feature.values());
  for (const bmx::PlannedInstruction& instruction : plan.instructions) {
    const Cost cost = cost_of(instruction);
    all.work += cost.work;
    all.values += cost.values;
  }
  for (const bmx::PlannedParameter& parameter : plan.parameters) {
    double size = 1;
    for (int64_t each : parameter.shape) size *= static_cast<double>(each);
    all.values += size;
  }
  return all.work < kMaxWork && all.values * 4 < kMaxMemory;
}

// Bytes of memory that a plan needs. Throws as running it would.
int64_t workspace_bytes(const bmx::Plan& plan, const bmx::Kernel& kernel) {
  bmx::Arrays arrays;
  arrays.images = 1;
  for (const bmx::Feature& feature : plan.data) arrays.data.push_back({nullptr, feature.values()});
  for (const bmx::PlannedParameter& parameter : plan.parameters) {
    int64_t size = 1;
    for (int64_t each : parameter.shape) size *= each;
    arrays.parameters.push_back({nullptr, size});
  }
  arrays.outputs.resize(plan.num_outputs);
  for (const bmx::PlannedInstruction& instruction : plan.instructions) {
    if (instruction.to.kind == 'y') arrays.outputs[instruction.to.index] = {nullptr, instruction.out.values()};
  }
  return bmx::Execution(plan, arrays, kernel, team_of(any_threads())).workspace_bytes();
}

// Weights of a conv, unused bits 0.
Bytes draw_weights(const bmx::Plan& plan, int64_t index) {
  int64_t size = 1;
  for (int64_t each : plan.parameters[index].shape) size *= each;
  Bytes weights(size);
  for (uint8_t& byte : weights) byte = static_cast<uint8_t>(random_word());
  for (const bmx::PlannedInstruction& instruction : plan.instructions) {
    if (instruction.operation->name != std::string("conv") || instruction.parameters[0] != index) continue;
    weights = Convolution(*static_cast<const bmx::Convolution*>(instruction.problem.get()), weights, {}).packed();
  }
  return weights;
}

std::vector<float> draw_values(const bmx::PlannedParameter& parameter) {
  int64_t size = 1;
  for (int64_t each : parameter.shape) size *= each;
  const size_t dimensions = parameter.shape.size();
  const bool thresholds = dimensions == 3 || (dimensions == 2 && parameter.shape[0] == 2);
  if (parameter.kind.may_be_single && sometimes(3)) size = 1;
  const bool weights = dimensions == 4;  // of an fconv
  std::vector<float> values = weights ? random_fractions(size) : random_floats(size, 9);
  if (!thresholds) return values;
  for (int64_t i = 0; i < size; ++i) {
    if (i / parameter.shape.back() % 2) values[i] = random_word() % 2 ? 1.0f : -1.0f;
    else if (sometimes(10)) values[i] = any_of<float>({INFINITY, -INFINITY, NAN, 1e9f, -1e9f, -0.0f, 1e-45f});
  }
  return values;
}

// A problem of a planned program, with what the judge makes of it.
Problem draw_problem(const Draft& draft, const bmx::Plan& plan) {
  Problem problem;
  problem.text = draft.text;
  for (size_t i = 0; i < plan.parameters.size(); ++i) {
    if (plan.parameters[i].kind.bits) problem.parameter(draw_weights(plan, static_cast<int64_t>(i)));
    else problem.parameter(draw_values(plan.parameters[i]));
  }
  for (int64_t i = 1 + random_below(2); i > 0; --i) {
    std::vector<Features> data;
    for (const bmx::Feature& feature : draft.data) {
      data.emplace_back(feature.channels, feature.size);
      data.back().values = random_floats(feature.channels * feature.size.pixels(), 9);
      if (sometimes(20)) data.back().values[0] = any_of<float>({NAN, INFINITY, -INFINITY, 1e-45f, 3e38f});
    }
    problem.expected.push_back(interpret(plan, data, problem.parameters));
    problem.images.push_back(data);
  }
  return problem;
}

struct Figures {
  int64_t tried = 0, right = 0, clean = 0;
};

// One case. What is wrong; empty if nothing.
std::string attempt(int64_t seed, const std::vector<Contestant>& contestants, Figures* figures) {
  random_state() = static_cast<uint64_t>(seed) * 0x2545f4914f6cdd1d;
  ++figures->tried;
  const bool damaged = random_below(3) > 0;
  Draft draft;
  if (sometimes(4)) {
    const Problem problem = sometimes(3)   ? (sometimes(2) ? rows_chain() : parts_chain())
                            : sometimes(2) ? chain()
                            : sometimes(2) ? small_groups()
                                           : single_convolution();
    draft = {problem.text, problem.features(), 1};
  } else {
    draft = draw_program();
  }
  if (damaged) damage(&draft);
  announce("program", draft.text);
  bmx::Plan plan;
  try {
    const int64_t num_data = static_cast<int64_t>(draft.data.size());
    plan = bmx::infer(bmx::parse_program(draft.text, num_data, draft.num_outputs), draft.data);
    const int64_t bytes = workspace_bytes(plan, *any_of(contestants).kernel);
    if (bytes < 0) return "needs " + std::to_string(bytes) + " bytes";
    if (bytes > kMaxMemory || !is_small(plan)) {
      ++figures->clean;
      return "";
    }
  } catch (const bmx::Error& error) {
    if (!damaged) throw;
    ++figures->clean;
    return "";
  }
  const Problem problem = draw_problem(draft, plan);
  for (const Contestant& contestant : contestants) {
    if (contestant.emulated && !sometimes(8)) continue;
    announce(contestant.kernel->name, draft.text);
    const Side side = sometimes(2) ? Side::kFront : Side::kBack;
    const std::string wrong = problem.run(*contestant.kernel, any_threads(), side);
    if (!wrong.empty()) return std::string(contestant.kernel->name) + ": " + wrong;
  }
  ++figures->right;
  return "";
}

void on_alarm(int) {
  const char text[] = "a case takes too long\n";
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(2);
  abort();
}

}  // namespace

bool fuzz(const std::vector<Contestant>& contestants, int64_t first, int64_t count, double seconds) {
  Figures figures;
  signal(SIGALRM, on_alarm);
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  for (int64_t seed = first; seed - first < count && passed() < seconds; ++seed) {
    alarm(kMaxSeconds);
    begin_case(seed);
    std::string wrong;
    try {
      wrong = attempt(seed, contestants, &figures);
    } catch (const std::exception& error) {
      wrong = std::string("threw ") + error.what();
    }
    if (!wrong.empty()) std::printf("%s: %s\n", announced(), wrong.c_str());
  }
  alarm(0);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const bool too_large = usage.ru_maxrss > kMaxProcess;
  if (too_large) std::printf("fuzz: it took %ld MiB of memory\n", usage.ru_maxrss >> 10);
  const int64_t other = figures.tried - figures.right - figures.clean;
  std::printf("fuzz: %lld tried in %.0f s: %lld right, %lld clean errors, %lld other\n",
              static_cast<long long>(figures.tried), passed(), static_cast<long long>(figures.right),
              static_cast<long long>(figures.clean), static_cast<long long>(other));
  return other == 0 && !too_large;
}
