// Tests of the kernels without MXNet: every one of the table that this machine can run, against plain loops.
// An argument, a number, thins out the sizes: of so many one is tested.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests.h"
#ifdef __x86_64__
#include "amx_emulator.h"
#endif

namespace {

char current[200];

void on_crash(int) {
  const char* const text = ": it reads or writes memory that is not its own\n";
  if (write(STDERR_FILENO, current, std::strlen(current)) + write(STDERR_FILENO, text, std::strlen(text)) < 0) _exit(2);
  _exit(1);
}

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

void announce(const Contestant& contestant, const std::string& what) {
  std::snprintf(current, sizeof current, "%s: %s", contestant.kernel->name, what.c_str());
}

int main(int argc, char** argv) {
  const int64_t thinning = argc > 1 ? std::atoll(argv[1]) : 1;
  signal(SIGSEGV, on_crash);
  signal(SIGBUS, on_crash);
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
  test_products(&contestants, thinning);
  test_binarizations(&contestants, thinning);
  test_small_groups(&contestants, thinning);
  test_float_convolutions(&contestants, thinning);
  test_programs(&contestants);
  for (const Contestant& contestant : contestants) {
    const bool works = contestant.failure.empty();
    std::printf("%s%s: %lld products, %lld binarizations, %lld small groups, %lld float convolutions, "
                "%lld programs: %s\n",
                contestant.kernel->name, contestant.emulated ? " (emulated)" : "",
                static_cast<long long>(contestant.products), static_cast<long long>(contestant.binarizations),
                static_cast<long long>(contestant.small_groups), static_cast<long long>(contestant.float_convolutions),
                static_cast<long long>(contestant.programs), works ? "ok" : contestant.failure.c_str());
    failed = failed || !works;
  }
  return failed;
}
