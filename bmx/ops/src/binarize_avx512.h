// Binarization with the masks of AVX-512 F and BW: a comparison gives the bits themselves, and what lies outside of the
// data is never loaded. A kernel includes this inside its target region.
#ifndef BMX_BINARIZE_AVX512_H_
#define BMX_BINARIZE_AVX512_H_

#include <immintrin.h>

#include <cstring>

#include "kernels.h"

namespace bmx {
namespace {

// The lowest `count` bits, all of them where there are more than 16.
inline __mmask16 first16(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}

inline __mmask32 first32(int64_t count) { return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1; }

// A whole word of channels next to each other: their thresholds stay in registers.
void binarize_word(const Binarization<float>& b) {
  __m512 threshold[4];
  for (int v = 0; v < 4; ++v) threshold[v] = _mm512_loadu_ps(b.threshold + 16 * v);
  const uint64_t flip = b.flip[0] | static_cast<uint64_t>(b.flip[1]) << 32;
  const float* data = b.data;
  uint32_t* out = b.out;
  for (int64_t p = 0; p < b.pixels; ++p, data += b.pixel_stride, out += b.out_stride) {
    __mmask16 above[4];
    for (int v = 0; v < 4; ++v) above[v] = _mm512_cmp_ps_mask(_mm512_loadu_ps(data + 16 * v), threshold[v], _CMP_GE_OQ);
    const __mmask32 low = _mm512_kunpackw(above[1], above[0]), high = _mm512_kunpackw(above[3], above[2]);
    const uint64_t bits = _cvtmask64_u64(_mm512_kunpackd(high, low)) ^ flip;
    std::memcpy(out, &bits, sizeof bits);
  }
}

// Channels of one pixel next to each other: a comparison gives the bits in their order.
void binarize_channels(const Binarization<float>& b) {
  if (b.channels == 64) return binarize_word(b);
  for (int64_t p = 0; p < b.pixels; ++p) {
    const float* data = b.data + p * b.pixel_stride;
    for (int64_t c = 0; c < b.channels; c += 32) {
      const __mmask16 low = first16(b.channels - c), high = first16(b.channels - c - 16);
      const uint32_t low_bits = _mm512_mask_cmp_ps_mask(low, _mm512_maskz_loadu_ps(low, data + c),
                                                        _mm512_maskz_loadu_ps(low, b.threshold + c), _CMP_GE_OQ);
      const uint32_t high_bits = _mm512_mask_cmp_ps_mask(high, _mm512_maskz_loadu_ps(high, data + c + 16),
                                                         _mm512_maskz_loadu_ps(high, b.threshold + c + 16), _CMP_GE_OQ);
      b.out[p * b.out_stride + c / 32] = (low_bits | high_bits << 16) ^ b.flip[c / 32];
    }
  }
}

// Up to 16 * Vectors pixels of one channel next to each other: each channel sets its bit in the lanes of its pixels.
template <int Vectors>
void binarize_pixels(const Binarization<float>& b, int64_t first, int64_t pixels) {
  __mmask16 inside[Vectors];
  for (int v = 0; v < Vectors; ++v) inside[v] = first16(pixels - 16 * v);
  for (int64_t c = 0; c < b.channels; c += 32) {
    __m512i halves[Vectors];
    for (int v = 0; v < Vectors; ++v) halves[v] = _mm512_set1_epi32(b.flip[c / 32]);
    const int64_t count = b.channels - c < 32 ? b.channels - c : 32;
    for (int64_t i = 0; i < count; ++i) {
      const float* data = b.data + (c + i) * b.channel_stride + first;
      const __m512 threshold = _mm512_set1_ps(b.threshold[c + i]);
      const __m512i bit = _mm512_set1_epi32(1 << i);
      for (int v = 0; v < Vectors; ++v) {
        const __m512 values = _mm512_maskz_loadu_ps(inside[v], data + 16 * v);
        const __mmask16 above = _mm512_cmp_ps_mask(values, threshold, _CMP_GE_OQ);
        halves[v] = _mm512_mask_xor_epi32(halves[v], above, halves[v], bit);
      }
    }
    alignas(64) uint32_t columns[16 * Vectors];
    for (int v = 0; v < Vectors; ++v) _mm512_store_si512(columns + 16 * v, halves[v]);
    uint32_t* out = b.out + first * b.out_stride + c / 32;
    for (int64_t p = 0; p < pixels; ++p) out[p * b.out_stride] = columns[p];
  }
}

void binarize_floats(const Binarization<float>& b) {
  if (b.channel_stride == 1) return binarize_channels(b);
  for (int64_t first = 0; first < b.pixels; first += 64) {
    const int64_t pixels = b.pixels - first < 64 ? b.pixels - first : 64;
    if (pixels > 32) binarize_pixels<4>(b, first, pixels);
    else if (pixels > 16) binarize_pixels<2>(b, first, pixels);
    else binarize_pixels<1>(b, first, pixels);
  }
}

// As above, of int16.
void binarize_word(const Binarization<int16_t>& b) {
  const __m512i low = _mm512_loadu_si512(b.threshold), high = _mm512_loadu_si512(b.threshold + 32);
  const uint64_t flip = b.flip[0] | static_cast<uint64_t>(b.flip[1]) << 32;
  const int16_t* data = b.data;
  uint32_t* out = b.out;
  for (int64_t p = 0; p < b.pixels; ++p, data += b.pixel_stride, out += b.out_stride) {
    const __mmask32 low_bits = _mm512_cmpge_epi16_mask(_mm512_loadu_si512(data), low);
    const __mmask32 high_bits = _mm512_cmpge_epi16_mask(_mm512_loadu_si512(data + 32), high);
    const uint64_t bits = _cvtmask64_u64(_mm512_kunpackd(high_bits, low_bits)) ^ flip;
    std::memcpy(out, &bits, sizeof bits);
  }
}

void binarize_shorts(const Binarization<int16_t>& b) {
  if (b.channels == 64) return binarize_word(b);
  for (int64_t p = 0; p < b.pixels; ++p) {
    const int16_t* data = b.data + p * b.pixel_stride;
    for (int64_t c = 0; c < b.channels; c += 32) {
      const __mmask32 inside = first32(b.channels - c);
      const __mmask32 bits = _mm512_mask_cmpge_epi16_mask(inside, _mm512_maskz_loadu_epi16(inside, data + c),
                                                          _mm512_maskz_loadu_epi16(inside, b.threshold + c));
      b.out[p * b.out_stride + c / 32] = bits ^ b.flip[c / 32];
    }
  }
}

}  // namespace
}  // namespace bmx

#endif  // BMX_BINARIZE_AVX512_H_
