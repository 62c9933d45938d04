// Random programs and damaged ones: with every kernel they give what plain loops give, or a bmx::Error.
#include <omp.h>
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
#include "programs.h"
#include "tests.h"

namespace {

constexpr double kMaxWork = 6e6;            // of plain loops, for a case
constexpr int64_t kMaxMemory = 32 << 20;  // bytes of a case's arrays, of its workspace
constexpr int kMaxSeconds = 120;          // of a case
constexpr int64_t kMaxProcess = 2 << 20;  // KiB of the process

// Can plain loops compute it in little time and memory?
bool is_small(const bmx::Program& program, const std::vector<bmx::Feature>& data) {
  double work = 0, values = 0;
  for (const bmx::Feature& feature : data) values += static_cast<double>(feature.channels) * feature.size.pixels();
  for (const bmx::Instruction& instruction : program.instructions) {
    const double outputs = static_cast<double>(instruction.out.channels) * instruction.out.size.pixels();
    const double inputs = static_cast<double>(instruction.channels) * instruction.image.pixels();
    const Size padded = instruction.window.padded(instruction.image);
    const bool convolution = instruction.kind == bmx::Instruction::kConvolution;
    const double terms = convolution ? static_cast<double>(instruction.channels / instruction.groups) : 1;
    const double border = convolution ? static_cast<double>(instruction.channels) * padded.pixels() : 0;
    values += outputs + inputs + border;
    work += instruction.binarizations * (outputs * terms * instruction.window.taps() + border) + outputs + inputs;
  }
  for (const bmx::Parameter& parameter : program.parameters) {
    double size = 1;
    for (int64_t each : parameter.shape) size *= static_cast<double>(each);
    values += size;
  }
  return work < kMaxWork && values * 4 < kMaxMemory;
}

// Bytes of memory that a program needs. Throws as running it would.
int64_t workspace_bytes(const bmx::Program& program, const std::vector<bmx::Feature>& data) {
  bmx::Arrays arrays;
  arrays.images = 1;
  for (const bmx::Feature& feature : data) arrays.data.push_back({nullptr, feature.values()});
  for (const bmx::Parameter& parameter : program.parameters) {
    int64_t size = 1;
    for (int64_t each : parameter.shape) size *= each;
    arrays.parameters.push_back({nullptr, size});
  }
  arrays.outputs.resize(program.num_outputs);
  for (const bmx::Instruction& instruction : program.instructions) {
    if (instruction.out_kind == 'y') arrays.outputs[instruction.out_index] = {nullptr, instruction.out.values()};
  }
  return bmx::Execution(program, arrays).workspace_bytes();
}

Bytes draw_weights(const bmx::Program& program, int64_t index) {
  const bmx::Parameter& parameter = program.parameters[index];
  int64_t channels = 8 * parameter.shape[3];  // fewest that are used
  for (const bmx::Instruction& instruction : program.instructions) {
    if (instruction.weight == index) channels = std::min(channels, instruction.channels / instruction.groups);
  }
  const int64_t bytes = parameter.shape[3];
  Bytes weights(parameter.shape[0] * parameter.shape[1] * parameter.shape[2] * bytes);
  for (size_t i = 0; i < weights.size(); ++i) {
    const int64_t bits = std::min<int64_t>(8, channels - static_cast<int64_t>(i) % bytes * 8);
    weights[i] = static_cast<uint8_t>(random_word() & ((1 << bits) - 1));
  }
  return weights;
}

std::vector<float> draw_values(const bmx::Parameter& parameter) {
  int64_t size = 1;
  for (int64_t each : parameter.shape) size *= each;
  const bool thresholds = parameter.shape.size() == 2 && parameter.shape[0] == 2;
  if (parameter.may_be_single && parameter.shape.size() == 1 && sometimes(3)) size = 1;
  std::vector<float> values = random_floats(size, 9);
  if (!thresholds) return values;
  for (int64_t i = 0; i < size; ++i) {
    if (i >= size / 2) values[i] = random_word() % 2 ? 1.0f : -1.0f;
    else if (sometimes(10)) values[i] = any_of<float>({INFINITY, -INFINITY, NAN, 1e9f, -1e9f, -0.0f, 1e-45f});
  }
  return values;
}

// A problem of an inferred program, with what the judge makes of it.
Problem draw_problem(const Draft& draft, const bmx::Program& program) {
  Problem problem;
  problem.text = draft.text;
  for (size_t i = 0; i < program.parameters.size(); ++i) {
    if (program.parameters[i].bits) problem.parameter(draw_weights(program, static_cast<int64_t>(i)));
    else problem.parameter(draw_values(program.parameters[i]));
  }
  for (int64_t i = 1 + random_below(2); i > 0; --i) {
    std::vector<Features> data;
    for (const bmx::Feature& feature : draft.data) {
      data.emplace_back(feature.channels, feature.size);
      data.back().values = random_floats(feature.channels * feature.size.pixels(), 9);
      if (sometimes(20)) data.back().values[0] = any_of<float>({NAN, INFINITY, -INFINITY, 1e-45f, 3e38f});
    }
    problem.expected.push_back(interpret(program, data, problem.parameters));
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
    const Problem problem = sometimes(2) ? chain() : sometimes(2) ? small_groups() : single_convolution();
    draft = {problem.text, problem.features(), 1};
  } else {
    draft = draw_program();
  }
  if (damaged) damage(&draft);
  announce("program", draft.text);
  choose_kernel(*any_of(contestants).kernel);
  bmx::Program program;
  try {
    program = bmx::parse_program(draft.text, static_cast<int64_t>(draft.data.size()), draft.num_outputs);
    bmx::infer(draft.data, &program);
    const int64_t bytes = workspace_bytes(program, draft.data);
    if (bytes < 0) return "needs " + std::to_string(bytes) + " bytes";
    if (bytes > kMaxMemory || !is_small(program, draft.data)) {
      ++figures->clean;
      return "";
    }
  } catch (const bmx::Error& error) {
    if (!damaged) throw;
    ++figures->clean;
    return "";
  }
  const Problem problem = draw_problem(draft, program);
  for (const Contestant& contestant : contestants) {
    if (contestant.emulated && !sometimes(8)) continue;
    announce(contestant.kernel->name, draft.text);
    choose_kernel(*contestant.kernel);
    omp_set_num_threads(static_cast<int>(1 + random_below(3)));
    const std::string wrong = problem.run(sometimes(2) ? Side::kFront : Side::kBack);
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
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
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
