// Denormal numbers count like any other, whatever the thread was told.
#ifndef BMX_DENORMALS_H_
#define BMX_DENORMALS_H_

#include <cstdint>

#ifdef __x86_64__
#include <xmmintrin.h>
#endif

namespace bmx {

// A library built with -ffast-math makes threads take denormal numbers for zero, its own and those started later; then
// 0 >= the least positive number. While this lives its thread does not.
class ExactDenormals {
 public:
  ExactDenormals() : mode_(mode()) { set_mode(mode_ & ~kZero); }
  ~ExactDenormals() { set_mode(mode_); }
  ExactDenormals(const ExactDenormals&) = delete;
  ExactDenormals& operator=(const ExactDenormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kZero = 1 << 6 | 1 << 15;  // operands, results
  static uint64_t mode() { return _mm_getcsr(); }
  static void set_mode(uint64_t mode) { _mm_setcsr(static_cast<unsigned int>(mode)); }
#elif defined(__aarch64__)
  static constexpr uint64_t kZero = 1 << 24;
  static uint64_t mode() {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set_mode(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#elif defined(__arm__) && defined(__ARM_FP)
  // Of scalar instructions; NEON's have no other way here, compilers do not use them for floats unless told to.
  static constexpr uint64_t kZero = 1 << 24;
  static uint64_t mode() {
    uint32_t mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode));
    return mode;
  }
  static void set_mode(uint64_t mode) {
    __asm__ volatile("vmsr fpscr, %0" : : "r"(static_cast<uint32_t>(mode)) : "memory");
  }
#else
  static constexpr uint64_t kZero = 0;
  static uint64_t mode() { return 0; }
  static void set_mode(uint64_t) {}
#endif

  uint64_t mode_;
};

}  // namespace bmx

#endif  // BMX_DENORMALS_H_
