// From MXNet's layouts to the 64-bit words that kernels read.
#ifndef BMX_PACKING_H_
#define BMX_PACKING_H_

#include <cstdint>

#include "convolution.h"

namespace bmx {

constexpr int64_t kWordBits = 64;

inline int64_t words_for(int64_t channels) { return (channels + kWordBits - 1) / kWordBits; }

// One group of one image in words: channels last, with its padding.
inline int64_t image_words(const Convolution& conv) {
  return conv.padded().height * conv.padded().width * words_for(conv.group_channels());
}

// Writes the padding of one group of one image; where pad_value is 0 it is written as -1.
void fill_padding(const Convolution& conv, uint64_t* words);

// Binarizes the pixels [begin, end) of one group of one image, whose first channel is at `data`. Bit c is
// value >= threshold[c], or value <= threshold[c] where direction[c] is negative; null means 0 and >=.
void pack_pixels(const Convolution& conv, const float* data, const float* threshold, const float* direction,
                 int64_t begin, int64_t end, uint64_t* words);

// Weights of one group, (filters, taps, ceil(channels / 8)) bytes, to block `index` of (taps * words, block) words.
void pack_weights(const Convolution& conv, const uint8_t* weight, int64_t block, int64_t index, uint64_t* words);

}  // namespace bmx

#endif  // BMX_PACKING_H_
