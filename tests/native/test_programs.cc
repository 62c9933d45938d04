// Programs of convolutions and maps, run with every kernel and several teams of threads, against plain loops.
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
#elif defined(__aarch64__)
  constexpr uint64_t kFlushToZero = 1 << 24;
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  __asm__ volatile("msr fpcr, %0" : : "r"(ignore ? mode | kFlushToZero : mode & ~kFlushToZero));
#elif defined(__arm__) && defined(__ARM_FP)
  constexpr uint32_t kFlushToZero = 1 << 24;
  uint32_t mode;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(mode));
  __asm__ volatile("vmsr fpscr, %0" : : "r"(ignore ? mode | kFlushToZero : mode & ~kFlushToZero));
#else
  static_cast<void>(ignore);
#endif
}

Problem (*const kDraws[8])() = {chain,       rows_chain,         float_chain, small_groups,
                                parts_chain, single_convolution, rows_chain,  small_groups};

}  // namespace

void test_programs(std::vector<Contestant>* contestants) {
  for (int64_t i = 0; i < 480; ++i) {
    const auto draw = kDraws[i % 8];
    const Problem problem = draw();
    for (Contestant& contestant : *contestants) {
      if (!contestant.failure.empty() || (contestant.emulated && i % 8 > 1)) continue;
      announce(contestant.kernel->name, problem.text);
      const int threads = any_threads();
      ignore_denormals(i % 8 < 2);
      const std::string wrong =
          problem.run(*contestant.kernel, threads, random_word() % 2 ? Side::kFront : Side::kBack);
      ignore_denormals(false);
      if (!wrong.empty()) {
        const Size size = problem.images[0][0].size;
        contestant.failure =
            problem.text + " of " + text_of(size) + " pixels, " + std::to_string(threads) + " threads: " + wrong;
      }
      ++contestant.programs;
    }
  }
}
