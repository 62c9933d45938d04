// Code of one instruction set within a library that has to run on any CPU: between BMX_TARGET("avx2") and
// BMX_TARGET_END functions use those instructions. Unlike with flags for a whole file, functions of the headers that
// are included before do not; the linker keeps one copy of each for all files, which any CPU may run. For the same
// reason no function template of the standard library is used in between.
#ifndef BMX_TARGET_H_
#define BMX_TARGET_H_

#define BMX_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define BMX_TARGET(isa) BMX_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define BMX_TARGET_END BMX_PRAGMA(clang attribute pop)
#else
#define BMX_TARGET(isa) BMX_PRAGMA(GCC push_options) BMX_PRAGMA(GCC target(isa))
#define BMX_TARGET_END BMX_PRAGMA(GCC pop_options)
#endif

// Inline assembly's constraint for a vector: a register, on other CPUs memory.
#if defined(__x86_64__)
#define BMX_VECTOR "v"
#elif defined(__aarch64__)
#define BMX_VECTOR "w"
#else
#define BMX_VECTOR "m"
#endif

// Does the compiler know AMX? Its header tells, GCC's or Clang's; the assembler is taken to be as new.
#if defined(__x86_64__) && defined(__linux__) && (__has_include(<amxint8intrin.h>) || __has_include(<amxintrin.h>))
#define BMX_HAS_AMX
#endif

#endif  // BMX_TARGET_H_
