// Kernel for AArch64, whose every CPU has NEON: population counts of bytes, added up in bytes.
#include "kernels.h"

#ifdef __aarch64__

#include <arm_neon.h>

#include <algorithm>

#include "binarize.h"
#include "blocks.h"
#include "elementwise_loops.h"
#include "float_product.h"
#include "plain_signs.h"
#include "small_groups.h"

namespace bmx {
namespace {

constexpr int kBlock = 8;             // filters in a tile
constexpr int kVectors = kBlock / 2;  // of weights, two words each
constexpr int kPixels = 4;            // pixels in a tile: its 16 counters and their operands fit the 32 registers
constexpr int kMaxRounds = 31;        // 31 * 8 is the largest count that fits a byte

// Counts, for `Pixels` pixels and one block of filters, the bits that differ in the words [begin, end) of the
// reduction, at most kMaxRounds of them, and adds them to `total`: of every word its lower and its upper half.
template <int Pixels>
inline void count_words(const uint64_t* const* activations, const int64_t* taps, const uint64_t* weights, int64_t begin,
                        int64_t end, uint32x4_t total[Pixels][kVectors]) {
  uint8x16_t counts[Pixels][kVectors];
  for (int p = 0; p < Pixels; ++p) {
    for (int v = 0; v < kVectors; ++v) counts[p][v] = vdupq_n_u8(0);
  }
  for (int64_t k = begin; k < end; ++k) {
    uint64x2_t weight[kVectors];
    for (int v = 0; v < kVectors; ++v) weight[v] = vld1q_u64(weights + k * kBlock + 2 * v);
    for (int p = 0; p < Pixels; ++p) {
      const uint64x2_t activation = vld1q_dup_u64(activations[p] + taps[k]);
      for (int v = 0; v < kVectors; ++v) {
        const uint8x16_t differing = vreinterpretq_u8_u64(veorq_u64(activation, weight[v]));
        counts[p][v] = vaddq_u8(counts[p][v], vcntq_u8(differing));
      }
    }
  }
  for (int p = 0; p < Pixels; ++p) {
    for (int v = 0; v < kVectors; ++v) total[p][v] = vpadalq_u16(total[p][v], vpaddlq_u8(counts[p][v]));
  }
}

template <int Pixels>
void multiply_tile(const Product& product, int64_t pixel, const uint64_t* weights, int32_t* out) {
  const uint64_t* activations[Pixels];
  for (int p = 0; p < Pixels; ++p) activations[p] = product.activations + product.origins[pixel + p];
  uint32x4_t total[Pixels][kVectors];
  for (int p = 0; p < Pixels; ++p) {
    for (int v = 0; v < kVectors; ++v) total[p][v] = vdupq_n_u32(0);
  }
  for (int64_t k = 0; k < product.depth; k += kMaxRounds) {
    count_words<Pixels>(activations, product.taps, weights, k, std::min(k + kMaxRounds, product.depth), total);
  }
  const int32x4_t bits = vdupq_n_s32(static_cast<int32_t>(product.bits));
  for (int p = 0; p < Pixels; ++p) {
    for (int v = 0; v < kVectors; v += 2) {
      const int32x4_t count = vreinterpretq_s32_u32(vpaddq_u32(total[p][v], total[p][v + 1]));
      vst1q_s32(out + (pixel + p) * product.out_stride + 2 * v, vsubq_s32(bits, vshlq_n_s32(count, 1)));
    }
  }
}

void multiply(const Product& product) {
  for (int64_t first = 0; first < product.filters; first += kBlock) {
    const uint64_t* weights = static_cast<const uint64_t*>(product.weights) + first * product.depth;
    int32_t* out = product.out + first;
    int64_t p = 0;
    for (; p + kPixels <= product.pixels; p += kPixels) multiply_tile<kPixels>(product, p, weights, out);
    for (; p < product.pixels; ++p) multiply_tile<1>(product, p, weights, out);
  }
}

class Table {
 public:
  typedef VectorOf<uint8_t, 16>::Type Vector;

  explicit Table(int64_t entry) : entries_(vld1q_u8(kDifferences.of + entry)) {}
  Vector at(const Vector& indices) const { return (Vector)vqtbl1q_u8(entries_, (uint8x16_t)indices); }

 private:
  uint8x16_t entries_;
};

struct Floats {
  typedef float32x4_t Vector;
  static constexpr int kLanes = 4, kRows = 6, kSums = 24;

  static Vector zero() { return vdupq_n_f32(0); }
  static Vector all(float value) { return vdupq_n_f32(value); }
  static Vector load(const float* from) { return vld1q_f32(from); }
  static void store(const Vector& vector, float* to) { vst1q_f32(to, vector); }
  static Vector multiply_add(const Vector& a, const Vector& b, const Vector& sum) { return vfmaq_f32(sum, a, b); }
};

bool always() { return true; }

int64_t bound(int64_t iterations) {
  uint8x16_t weight = vdupq_n_u8(0), activation[kPixels], counts[kPixels][kVectors];
  for (int p = 0; p < kPixels; ++p) {
    activation[p] = vdupq_n_u8(0);
    for (int v = 0; v < kVectors; ++v) counts[p][v] = vdupq_n_u8(0);
  }
  for (int64_t i = 0; i < iterations; ++i) {
    // all operands differ, for all that the compiler knows
    for (int p = 0; p < kPixels; ++p) __asm__("" : "+w"(activation[p]));
    for (int v = 0; v < kVectors; ++v) {
      __asm__("" : "+w"(weight));
      for (int p = 0; p < kPixels; ++p) {
        counts[p][v] = vaddq_u8(counts[p][v], vcntq_u8(veorq_u8(weight, activation[p])));
      }
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    for (int v = 0; v < kVectors; ++v) __asm__ volatile("" : : "w"(counts[p][v]));
  }
  return iterations * kPixels * kVectors * 128;
}

}  // namespace

extern const Kernel kNeon = {"neon",
                             always,
                             blocks_bytes<kBlock>,
                             prepare_blocks<kBlock>,
                             multiply,
                             binarize_floats<16>,
                             binarize_shorts<16>,
                             spread<16>,
                             look_up<Table>,
                             multiply_floats<Floats>,
                             add_signed<Signs<Floats>>,
                             make_sign_tables<16>,
                             1.5,
                             bound,
                             float_bound<Floats>,
                             elementwise<Plain>()};

}  // namespace bmx

#endif  // __aarch64__
