// float16 values.
#ifndef BMX_HALF_H_
#define BMX_HALF_H_

#include <cstdint>
#include <cstring>

namespace bmx {

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// IEEE 754 half precision: arithmetic is done in float, then rounded to nearest even.
struct Half {
  uint16_t bits;

  Half() = default;
  Half(float value) : bits(round(value)) {}  // NOLINT: converts like the built-in types
  operator float() const {
    const uint32_t magnitude = bits & 0x7fff;
    const float value = magnitude < 0x400    ? static_cast<float>(magnitude) * 0.000000059604644775390625f  // 2^-24
                        : magnitude < 0x7c00 ? from_bits((magnitude << 13) + (112u << 23))
                                             : from_bits(magnitude << 13 | 0x7f800000);
    return bits & 0x8000 ? -value : value;
  }

 private:
  static uint16_t round(float value) {
    const uint32_t all = bits_of(value), magnitude = all & 0x7fffffff, sign = all >> 16 & 0x8000;
    if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
    if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and above: infinity
    // below 2^-14 the last bit is 2^-24, as it is in a float next to 0.5
    if (magnitude < 0x38800000) return sign | (bits_of(from_bits(magnitude) + 0.5f) - bits_of(0.5f));
    return sign | ((magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13);
  }
};

}  // namespace bmx

#endif  // BMX_HALF_H_
