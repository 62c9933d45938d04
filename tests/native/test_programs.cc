// Programs of convolutions and maps, run with every kernel and several teams of threads, against plain loops.
#include <omp.h>

#include "programs.h"
#include "tests.h"
#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace {

// Makes this thread take denormal numbers for zero, as a library built with -ffast-math does, or not.
void ignore_denormals(bool ignore) {
#ifdef __x86_64__
  constexpr unsigned int kDenormalsAreZeros = 1 << 6;
  _mm_setcsr(ignore ? _mm_getcsr() | kDenormalsAreZeros : _mm_getcsr() & ~kDenormalsAreZeros);
#else
  static_cast<void>(ignore);
#endif
}

}  // namespace

void test_programs(std::vector<Contestant>* contestants) {
  for (int64_t i = 0; i < 480; ++i) {
    const auto draw = i % 4 == 1   ? rows_chain
                      : i % 2      ? small_groups
                      : i % 8 == 0 ? chain
                      : i % 8 == 2 ? float_chain
                                   : single_convolution;
    const Problem problem = draw();
    for (Contestant& contestant : *contestants) {
      if (!contestant.failure.empty() || (contestant.emulated && i % 8 > 1)) continue;
      announce(contestant.kernel->name, problem.text);
      choose_kernel(*contestant.kernel);
      omp_set_num_threads(static_cast<int>(1 + random_below(3)));
      ignore_denormals(i % 8 < 2);
      const std::string wrong = problem.run(random_word() % 2 ? Side::kFront : Side::kBack);
      ignore_denormals(false);
      if (!wrong.empty()) {
        const Size size = problem.images[0][0].size;
        const std::string threads = std::to_string(omp_get_max_threads());
        contestant.failure = problem.text + " of " + text_of(size) + " pixels, " + threads + " threads: " + wrong;
      }
      ++contestant.programs;
    }
  }
}
