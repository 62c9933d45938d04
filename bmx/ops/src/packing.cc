#include "packing.h"

#include <algorithm>
#include <cstring>

namespace bmx {
namespace {

constexpr int64_t kTile = 16;  // adjacent pixels binarized at once: 32 channels of them stay in four 128-bit registers
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

// A bit string of `channels` ones, word w of it.
uint64_t ones_word(int64_t channels, int64_t w) {
  const int64_t left = channels - w * kWordBits;
  return left >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
}

}  // namespace

void fill_padding(const Convolution& conv, uint64_t* words) {
  const int64_t channels = conv.group_channels(), depth = words_for(channels);
  const Size padded = conv.padded();
  for (int64_t y = 0; y < padded.height; ++y) {
    const bool inside = y >= conv.pad.height && y < conv.pad.height + conv.image.height;
    for (int64_t x = 0; x < padded.width; ++x) {
      if (inside && x == conv.pad.width) x += conv.image.width;
      if (x == padded.width) break;
      uint64_t* to = words + (y * padded.width + x) * depth;
      for (int64_t w = 0; w < depth; ++w) to[w] = conv.pad_value == 1 ? ones_word(channels, w) : 0;
    }
  }
}

void pack_pixels(const Convolution& conv, const float* data, const float* threshold, const float* direction,
                 int64_t begin, int64_t end, uint64_t* words) {
  const int64_t channels = conv.group_channels(), depth = words_for(channels);
  const bool tiled = conv.pixel_stride == 1 && conv.image.height * conv.image.width >= kTile;
  for (int64_t p = begin; p < end; p += kTile) {
    const int64_t count = std::min(kTile, end - p);
    // the last tile of an image reaches back over pixels that another one writes
    const int64_t first = tiled ? std::min(p, conv.image.height * conv.image.width - kTile) : p;
    uint64_t* to[kTile];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t y = (p + i) / conv.image.width + conv.pad.height, x = (p + i) % conv.image.width + conv.pad.width;
      to[i] = words + (y * conv.padded().width + x) * depth;
    }
    for (int64_t w = 0; w < depth; ++w) {
      uint32_t halves[2][kTile] = {};
      for (int64_t h = 0; h < 2; ++h) {
        const int64_t c = w * kWordBits + h * kHalf, left = std::min(kHalf, channels - c);
        if (left <= 0) break;
        const float* from = data + c * conv.channel_stride + first * conv.pixel_stride;
        const float* t = threshold ? threshold + c : nullptr;
        const float* d = threshold ? direction + c : nullptr;
        if (tiled) {
          pack_tile(from, conv.channel_stride, left, t, d, halves[h]);
        } else {
          for (int64_t i = 0; i < count; ++i) {
            halves[h][i] = pack_pixel(from + i * conv.pixel_stride, conv.channel_stride, left, t, d);
          }
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = p - first + i;
        to[i][w] = halves[0][at] | static_cast<uint64_t>(halves[1][at]) << kHalf;
      }
    }
  }
}

void pack_weights(const Convolution& conv, const uint8_t* weight, int64_t block, int64_t index, uint64_t* words) {
  const int64_t taps = conv.kernel.height * conv.kernel.width, depth = words_for(conv.group_channels());
  const int64_t bytes = (conv.group_channels() + 7) / 8;
  for (int64_t lane = 0; lane < block; ++lane) {
    const int64_t filter = index * block + lane;
    const bool missing = filter >= conv.group_filters();
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t w = 0; w < depth; ++w) {
        uint64_t word = 0;  // little-endian, as the bytes are
        const uint8_t* from = weight + (filter * taps + tap) * bytes + 8 * w;
        if (!missing) std::memcpy(&word, from, std::min<int64_t>(8, bytes - 8 * w));
        words[(tap * depth + w) * block + lane] = word;
      }
    }
  }
}

}  // namespace bmx
