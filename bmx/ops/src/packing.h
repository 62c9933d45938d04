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

// Weights of one group, (filters, taps, ceil(channels / 8)) bytes, to (filters, taps * words) words.
void pack_weights(const Convolution& conv, const uint8_t* weight, uint64_t* words);

}  // namespace bmx

#endif  // BMX_PACKING_H_
