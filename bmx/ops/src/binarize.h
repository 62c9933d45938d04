// Binarization with vectors of `Bytes` bytes, as GCC and Clang have them for any instruction set. A kernel that runs on
// part of the CPUs only includes this inside its target region: the code becomes that instruction set's.
#ifndef BMX_BINARIZE_H_
#define BMX_BINARIZE_H_

#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "vectors.h"

namespace bmx {
namespace {

// All 64-bit parts of a vector or-ed.
template <typename Bits>
inline uint64_t fold(const Bits& bits) {
  uint64_t parts[sizeof(Bits) / 8], all = 0;
  std::memcpy(parts, &bits, sizeof parts);
  for (uint64_t part : parts) all |= part;
  return all;
}

constexpr uint32_t kFloatBits[32] = {1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,
                                     1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
                                     1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
                                     1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31};
constexpr uint16_t kShortBits[16] = {1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                     1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};

// Bits of 32 adjacent values.
template <int Bytes>
inline uint32_t binarize_32(const float* data, const float* threshold) {
  typedef typename VectorOf<float, Bytes>::Type Values;
  typedef typename VectorOf<uint32_t, Bytes>::Type Bits;
  Bits bits = {};
  for (int i = 0; i < 32; i += Bytes / 4) {
    bits |= (Bits)(load_from<Values>(data + i) >= load_from<Values>(threshold + i)) & load_from<Bits>(kFloatBits + i);
  }
  const uint64_t all = fold(bits);
  return static_cast<uint32_t>(all | all >> 32);
}

template <int Bytes>
inline uint32_t binarize_32(const int16_t* data, const int16_t* threshold) {
  typedef typename VectorOf<int16_t, Bytes>::Type Values;
  typedef typename VectorOf<uint16_t, Bytes>::Type Bits;
  uint32_t both = 0;
  for (int first = 0; first < 32; first += 16) {
    Bits bits = {};
    for (int i = 0; i < 16; i += Bytes / 2) {
      bits |= (Bits)(load_from<Values>(data + first + i) >= load_from<Values>(threshold + first + i)) &
              load_from<Bits>(kShortBits + i);
    }
    uint64_t all = fold(bits);
    all |= all >> 32;
    both |= ((all | all >> 16) & 0xffff) << first;
  }
  return both;
}

// Adjacent channels are adjacent in memory.
template <int Bytes, typename Value>
void binarize_channels(const Binarization<Value>& b) {
  const int64_t whole = b.channels / 32 * 32, left = b.channels - whole;
  Value last[32] = {}, last_threshold[32] = {};
  for (int64_t c = 0; c < left; ++c) last_threshold[c] = b.threshold[whole + c];
  for (int64_t p = 0; p < b.pixels; ++p) {
    const Value* data = b.data + p * b.pixel_stride;
    uint32_t* out = b.out + p * b.out_stride;
    for (int64_t c = 0; c < whole; c += 32) {
      out[c / 32] = binarize_32<Bytes>(data + c, b.threshold + c) ^ b.flip[c / 32];
    }
    if (!left) continue;
    for (int64_t c = 0; c < left; ++c) last[c] = data[whole + c];
    const uint32_t used = (uint32_t{1} << left) - 1;
    out[whole / 32] = (binarize_32<Bytes>(last, last_threshold) & used) ^ b.flip[whole / 32];
  }
}

// `Vectors` vectors of adjacent pixels, from pixel `first` on: each channel sets its bit in the lanes of its pixels.
template <int Bytes, int Vectors>
void binarize_pixels(const Binarization<float>& b, int64_t first) {
  typedef typename VectorOf<float, Bytes>::Type Values;
  typedef typename VectorOf<uint32_t, Bytes>::Type Bits;
  constexpr int kLanes = Bytes / 4;
  for (int64_t c = 0; c < b.channels; c += 32) {
    Bits bits[Vectors] = {};
    const int64_t count = b.channels - c < 32 ? b.channels - c : 32;
    for (int64_t i = 0; i < count; ++i) {
      const float* data = b.data + (c + i) * b.channel_stride + first;
      const Values threshold = b.threshold[c + i] - Values{};
      for (int v = 0; v < Vectors; ++v) {
        bits[v] |= (Bits)(load_from<Values>(data + v * kLanes) >= threshold) & (kFloatBits[i] - Bits{});
      }
    }
    uint32_t halves[Vectors * kLanes];
    std::memcpy(halves, bits, sizeof halves);
    for (int p = 0; p < Vectors * kLanes; ++p) b.out[(first + p) * b.out_stride + c / 32] = halves[p] ^ b.flip[c / 32];
  }
}

// Adjacent pixels are adjacent in memory. The last pixels are done in a vector that reaches back over others.
template <int Bytes>
void binarize_planes(const Binarization<float>& b) {
  constexpr int kLanes = Bytes / 4;
  if (b.pixels < kLanes) {
    if (Bytes > 16) return binarize_planes<16>(b);
    for (int64_t p = 0; p < b.pixels; ++p) {
      for (int64_t c = 0; c < b.channels; c += 32) {
        const int64_t count = b.channels - c < 32 ? b.channels - c : 32;
        uint32_t half = b.flip[c / 32];
        for (int64_t i = 0; i < count; ++i) {
          half ^= uint32_t{b.data[(c + i) * b.channel_stride + p] >= b.threshold[c + i]} << i;
        }
        b.out[p * b.out_stride + c / 32] = half;
      }
    }
    return;
  }
  int64_t p = 0;
  for (; p + 4 * kLanes <= b.pixels; p += 4 * kLanes) binarize_pixels<Bytes, 4>(b, p);
  for (; p + kLanes <= b.pixels; p += kLanes) binarize_pixels<Bytes, 1>(b, p);
  if (p < b.pixels) binarize_pixels<Bytes, 1>(b, b.pixels - kLanes);
}

template <int Bytes>
void binarize_floats(const Binarization<float>& b) {
  return b.channel_stride == 1 ? binarize_channels<Bytes>(b) : binarize_planes<Bytes>(b);
}

template <int Bytes>
void binarize_shorts(const Binarization<int16_t>& b) {
  binarize_channels<Bytes>(b);
}

}  // namespace
}  // namespace bmx

#endif  // BMX_BINARIZE_H_
