#include "packing.h"

#include <algorithm>
#include <cstring>

namespace bmx {
namespace {

constexpr int64_t kTile = 16;  // pixels binarized at once: 32 channels of them stay in four 128-bit registers
constexpr int64_t kHalf = 32;  // a word is written in halves, which are as wide as the floats they come from

typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Bits __attribute__((vector_size(16)));

inline bool is_set(float value, float threshold, bool below) { return below ? value <= threshold : value >= threshold; }

// Bits of up to 32 channels of kTile adjacent pixels.
void pack_tile(const float* data, int64_t channel_stride, int64_t channels, const float* threshold,
               const float* direction, uint32_t halves[kTile]) {
  Bits acc[kTile / 4] = {};
  for (int64_t c = 0; c < channels; ++c) {
    const float t = threshold ? threshold[c] : 0.0f;
    const bool below = direction && direction[c] < 0;
    const uint32_t bit = uint32_t{1} << c;
    const Floats limit = {t, t, t, t};
    const Bits mask = {bit, bit, bit, bit};
    for (int64_t i = 0; i < kTile / 4; ++i) {
      Floats values;
      std::memcpy(&values, data + c * channel_stride + 4 * i, sizeof values);
      acc[i] |= (below ? (Bits)(values <= limit) : (Bits)(values >= limit)) & mask;
    }
  }
  std::memcpy(halves, acc, sizeof acc);
}

uint32_t pack_pixel(const float* data, int64_t channel_stride, int64_t channels, const float* threshold,
                    const float* direction) {
  uint32_t half = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const bool bit = is_set(data[c * channel_stride], threshold ? threshold[c] : 0.0f, direction && direction[c] < 0);
    half |= uint32_t{bit} << c;
  }
  return half;
}

}  // namespace

void pack_pixels(const float* data, int64_t channel_stride, int64_t pixel_stride, int64_t channels, int64_t pixels,
                 const float* threshold, const float* direction, uint64_t* words) {
  const int64_t depth = words_for(channels);
  for (int64_t p = 0; p < pixels; p += kTile) {
    const int64_t count = std::min(kTile, pixels - p);
    for (int64_t w = 0; w < depth; ++w) {
      uint32_t halves[2][kTile] = {};
      for (int64_t h = 0; h < 2; ++h) {
        const int64_t c = w * kWordBits + h * kHalf;
        const int64_t left = std::min(kHalf, channels - c);
        if (left <= 0) break;
        const float* from = data + c * channel_stride + p * pixel_stride;
        const float* t = threshold ? threshold + c : nullptr;
        const float* d = threshold ? direction + c : nullptr;
        if (count == kTile && pixel_stride == 1) {
          pack_tile(from, channel_stride, left, t, d, halves[h]);
        } else {
          for (int64_t i = 0; i < count; ++i) {
            halves[h][i] = pack_pixel(from + i * pixel_stride, channel_stride, left, t, d);
          }
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        words[(p + i) * depth + w] = halves[0][i] | static_cast<uint64_t>(halves[1][i]) << kHalf;
      }
    }
  }
}

void pack_weights(const uint8_t* weight, int64_t filters, int64_t taps, int64_t channels, int64_t block,
                  uint64_t* words) {
  const int64_t bytes = (channels + 7) / 8;
  const int64_t depth = words_for(channels);
  const int64_t blocks = (filters + block - 1) / block;
  for (int64_t o = 0; o < blocks * block; ++o) {
    uint64_t* to = words + (o / block) * taps * depth * block + o % block;
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t w = 0; w < depth; ++w, to += block) {
        *to = 0;
        if (o >= filters) continue;
        const uint8_t* from = weight + (o * taps + tap) * bytes + w * 8;
        const int64_t left = std::min<int64_t>(8, bytes - w * 8);
        for (int64_t b = 0; b < left; ++b) *to |= static_cast<uint64_t>(from[b]) << (8 * b);
      }
    }
  }
}

}  // namespace bmx
