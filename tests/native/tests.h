// The parts of the program. Each prints a line for all that it tested and says whether that went well.
#ifndef BMX_TESTS_TESTS_H_
#define BMX_TESTS_TESTS_H_

#include <string>
#include <vector>

#include "kernels.h"
#include "team.h"

// A kernel of the table that this machine can run, be it slowly.
struct Contestant {
  const bmx::Kernel* kernel;
  bool emulated;
  // tested so far
  int64_t products = 0, binarizations = 0, small_groups = 0, elementwise = 0, float_convolutions = 0, programs = 0,
          gradients = 0;
  std::string failure = "";  // empty: none so far
};

// What is being tested, for the message of a crash.
void announce(const std::string& kernel, const std::string& what);
const char* announced();
// The number of a random case, which belongs to what is announced from now on.
void begin_case(int64_t seed);

// Teams of 1 to 3 threads, which are kept; a number of threads.
bmx::Team* team_of(int threads);
int any_threads();

// Runs a case with every kernel that has not failed, in a team of any size; counts it. `run` is given the kernel and
// the number of threads, and returns what is wrong.
template <typename Run>
void run_case(std::vector<Contestant>* contestants, int64_t Contestant::*count, const std::string& name,
              const Run& run) {
  for (Contestant& contestant : *contestants) {
    if (!contestant.failure.empty()) continue;
    announce(contestant.kernel->name, name);
    const int threads = any_threads();
    const std::string wrong = run(*contestant.kernel, threads);
    if (!wrong.empty()) contestant.failure = name + ", " + std::to_string(threads) + " threads: " + wrong;
    ++(contestant.*count);
  }
}

// Of its many sizes one of `thinning` is tested.
void test_products(std::vector<Contestant>* contestants, int64_t thinning);
void test_binarizations(std::vector<Contestant>* contestants, int64_t thinning);
void test_small_groups(std::vector<Contestant>* contestants, int64_t thinning);
void test_elementwise(std::vector<Contestant>* contestants, int64_t thinning);
void test_float_convolutions(std::vector<Contestant>* contestants, int64_t thinning);
void test_gradients(std::vector<Contestant>* contestants, int64_t thinning);
void test_programs(std::vector<Contestant>* contestants);
bool amx_emulator_works();
bool bookkeeping_works();  // prints what is wrong
bool teams_work();         // as well
// Tries `count` random programs, from number `first` on, as long as there is time. Prints figures; did all go well?
bool fuzz(const std::vector<Contestant>& contestants, int64_t first, int64_t count, double seconds);

#endif  // BMX_TESTS_TESTS_H_
