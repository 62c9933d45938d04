#include "packing.h"

#include <cstring>

namespace bmx {
namespace {

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

void pack_weights(const Convolution& conv, const uint8_t* weight, uint64_t* words) {
  const int64_t taps = conv.kernel.height * conv.kernel.width, depth = words_for(conv.group_channels());
  const int64_t bytes = (conv.group_channels() + 7) / 8;
  for (int64_t tap = 0; tap < conv.group_filters() * taps; ++tap) {
    words[tap * depth + depth - 1] = 0;
    std::memcpy(words + tap * depth, weight + tap * bytes, bytes);  // little-endian both
  }
}

}  // namespace bmx
