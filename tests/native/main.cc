// Tests of the kernels without MXNet: every one of the table that this machine can run, against plain loops.
//   test [THINNING]            thins out the sizes: of so many one is tested
//   test fuzz SECONDS          random programs for so long
//   test cases FIRST COUNT     so many of these
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests.h"
#ifdef __x86_64__
#include "amx_emulator.h"
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

constexpr int64_t kQuickCases = 1800;  // random programs of a test, before it is thinned out

char current[2000];
long long current_case = -1;

void tell_current(const char* what) {
  if (write(STDERR_FILENO, current, std::strlen(current)) + write(STDERR_FILENO, what, std::strlen(what)) < 0) _exit(2);
}

void on_crash(int) {
  tell_current(": it reads or writes memory that is not its own\n");
  _exit(1);
}

#ifdef __SANITIZE_ADDRESS__
void on_death() { tell_current(": stopped\n"); }
#endif

// Can this CPU run the kernel if its AMX instructions are emulated?
bool can_emulate(const bmx::Kernel& kernel) {
#ifdef __x86_64__
  return std::strcmp(kernel.name, "amx") == 0 && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  static_cast<void>(kernel);
  return false;
#endif
}

}  // namespace

void announce(const std::string& kernel, const std::string& what) {
  if (current_case < 0) std::snprintf(current, sizeof current, "%s: %s", kernel.c_str(), what.c_str());
  else std::snprintf(current, sizeof current, "case %lld: %s: %s", current_case, kernel.c_str(), what.c_str());
}

const char* announced() { return current; }

void begin_case(int64_t seed) { current_case = seed; }

int main(int argc, char** argv) {
  const std::string command = argc > 2 ? argv[1] : "";
  const int64_t thinning = argc == 2 ? std::atoll(argv[1]) : 1;
  signal(SIGSEGV, on_crash);
  signal(SIGBUS, on_crash);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_death_callback(on_death);
#endif
  bool failed = false;
  std::vector<Contestant> contestants;
  for (const bmx::Kernel& kernel : bmx::kernels()) {
    if (kernel.supported()) {
      contestants.push_back({&kernel, false});
    } else if (can_emulate(kernel)) {
      contestants.push_back({&kernel, true});
    } else {
      std::printf("%s: skipped, this CPU lacks it\n", kernel.name);
    }
  }
#ifdef __x86_64__
  install_amx_emulator();
  failed = !amx_emulator_works();
#endif
  if (command == "fuzz") return !fuzz(contestants, 0, INT64_MAX, std::atof(argv[2]));
  if (command == "cases") return !fuzz(contestants, std::atoll(argv[2]), argc > 3 ? std::atoll(argv[3]) : 1, INFINITY);
  failed |= !bookkeeping_works();
  failed |= !teams_work();
  test_products(&contestants, thinning);
  test_binarizations(&contestants, thinning);
  test_small_groups(&contestants, thinning);
  test_elementwise(&contestants, thinning);
  test_float_convolutions(&contestants, thinning);
  test_gradients(&contestants, thinning);
  test_programs(&contestants);
  for (const Contestant& contestant : contestants) {
    const bool works = contestant.failure.empty();
    std::printf(
        "%s%s: %lld products, %lld binarizations, %lld small groups, %lld elementwise, "
        "%lld float convolutions, %lld gradients, %lld programs: %s\n",
        contestant.kernel->name, contestant.emulated ? " (emulated)" : "", static_cast<long long>(contestant.products),
        static_cast<long long>(contestant.binarizations), static_cast<long long>(contestant.small_groups),
        static_cast<long long>(contestant.elementwise), static_cast<long long>(contestant.float_convolutions),
        static_cast<long long>(contestant.gradients), static_cast<long long>(contestant.programs),
        works ? "ok" : contestant.failure.c_str());
    failed = failed || !works;
  }
  return failed | !fuzz(contestants, 0, kQuickCases / thinning, INFINITY);
}
