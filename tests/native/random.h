// Random numbers, the same ones in every run.
#ifndef BMX_TESTS_RANDOM_H_
#define BMX_TESTS_RANDOM_H_

#include <cstdint>

// May be set, to begin a sequence again.
inline uint64_t& random_state() {
  static uint64_t state = 0;
  return state;
}

inline uint64_t random_word() {  // splitmix64
  uint64_t z = random_state() += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

inline int64_t random_below(int64_t end) { return static_cast<int64_t>(random_word() % static_cast<uint64_t>(end)); }

// One time in `times`.
inline bool sometimes(int64_t times) { return random_below(times) == 0; }

#endif  // BMX_TESTS_RANDOM_H_
