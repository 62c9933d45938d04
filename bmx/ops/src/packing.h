// From MXNet's layouts to the 64-bit words that kernels read.
#ifndef BMX_PACKING_H_
#define BMX_PACKING_H_

#include <cstdint>

#include "convolution.h"

namespace bmx {

constexpr int64_t kWordBits = 64;

inline int64_t words_for(int64_t channels) { return (channels + kWordBits - 1) / kWordBits; }

// Binarizes `pixels` consecutive pixels of `channels` channels: bit c of pixel p is data[c * channel_stride +
// p * pixel_stride] >= threshold[c], or <= where direction[c] is negative. Null `threshold` means 0 and >=.
// The words of pixel p begin at words + p * words_for(channels).
void pack_pixels(const float* data, int64_t channel_stride, int64_t pixel_stride, int64_t channels, int64_t pixels,
                 const float* threshold, const float* direction, uint64_t* words);

// Weights of one group, (filters, taps, ceil(channels / 8)) bytes, to (ceil(filters / block), taps * words, block).
void pack_weights(const uint8_t* weight, int64_t filters, int64_t taps, int64_t channels, int64_t block,
                  uint64_t* words);

}  // namespace bmx

#endif  // BMX_PACKING_H_
