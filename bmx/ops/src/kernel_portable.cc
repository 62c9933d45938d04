// Kernel for any CPU: no popcount instruction is assumed.
//
// Carry-save adders turn eight words into bits of weight 1, 2, 4 (kept) and 8 (counted), so that only one word in eight
// is counted; see Harley and Seal in Warren, "Hacker's Delight", section 5-1, and Mula et al., arXiv:1611.07612.
#include <cstring>

#include "kernels.h"

namespace bmx {

void run_portable(const Product& product);

namespace {

// Two 64-bit words: the vector that every x86-64 and AArch64 has.
typedef uint64_t Vector __attribute__((vector_size(16)));

constexpr int kVectors = 2;          // vectors of weights in a tile: 4 filters
constexpr int kBlock = 2 * kVectors;
constexpr int kMaxRounds = 31;       // 31 * 8 is the largest count of eights that fits a byte

inline Vector load(const uint64_t* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline Vector all(uint64_t word) { return Vector{word, word}; }

// Adds three bits in each position: returns the sum's low bit, `carry` its high bit.
inline Vector add3(Vector a, Vector b, Vector c, Vector* carry) {
  const Vector half = a ^ b;
  *carry = (a & b) | (half & c);
  return half ^ c;
}

// Population count of every byte.
inline Vector count_bytes(Vector x) {
  x = x - ((x >> 1) & all(0x5555555555555555));
  x = (x & all(0x3333333333333333)) + ((x >> 2) & all(0x3333333333333333));
  return (x + (x >> 4)) & all(0x0f0f0f0f0f0f0f0f);
}

// Sum of the bytes of each word.
inline Vector sum_bytes(Vector x) {
  x = (x & all(0x00ff00ff00ff00ff)) + ((x >> 8) & all(0x00ff00ff00ff00ff));
  x = x + (x >> 16);
  return (x + (x >> 32)) & all(0xffff);
}

// Words that differ between one pixel and the filters of one block.
inline void count_block(const uint64_t* activation, const int64_t* taps, const uint64_t* weights, int64_t depth,
                        Vector total[kVectors]) {
  Vector ones[kVectors] = {}, twos[kVectors] = {}, fours[kVectors] = {};
  for (int v = 0; v < kVectors; ++v) total[v] = all(0);
  int64_t k = 0;
  while (k + 8 <= depth) {
    Vector eights[kVectors] = {};
    for (int round = 0; round < kMaxRounds && k + 8 <= depth; ++round, k += 8) {
      Vector a[8];
      for (int i = 0; i < 8; ++i) a[i] = all(activation[taps[k + i]]);
      for (int v = 0; v < kVectors; ++v) {
        const uint64_t* w = weights + k * kBlock + 2 * v;
        Vector two[2], four[2], eight;
        for (int half = 0; half < 2; ++half) {
          for (int quarter = 0; quarter < 2; ++quarter) {
            const int i = 4 * half + 2 * quarter;
            ones[v] = add3(ones[v], a[i] ^ load(w + i * kBlock), a[i + 1] ^ load(w + (i + 1) * kBlock), &two[quarter]);
          }
          twos[v] = add3(twos[v], two[0], two[1], &four[half]);
        }
        fours[v] = add3(fours[v], four[0], four[1], &eight);
        eights[v] += count_bytes(eight);
      }
    }
    for (int v = 0; v < kVectors; ++v) total[v] += sum_bytes(eights[v]) << 3;
  }
  for (int v = 0; v < kVectors; ++v) {
    // at most 7 * 8 + (1 + 2 + 4) * 8 = 112 in a byte
    Vector rest = count_bytes(ones[v]) + (count_bytes(twos[v]) << 1) + (count_bytes(fours[v]) << 2);
    for (int64_t tail = k; tail < depth; ++tail) {
      rest += count_bytes(all(activation[taps[tail]]) ^ load(weights + tail * kBlock + 2 * v));
    }
    total[v] += sum_bytes(rest);
  }
}

}  // namespace

void run_portable(const Product& product) {
  for (int64_t first = 0; first < product.filters; first += kBlock) {
    const uint64_t* weights = product.weights + first * product.depth;
    const int64_t filters = product.filters - first < kBlock ? product.filters - first : kBlock;
    float* out = product.out + first * product.filter_stride;
    for (int64_t p = 0; p < product.pixels; ++p) {
      Vector differing[kVectors];
      count_block(product.activations + product.origins[p], product.taps, weights, product.depth, differing);
      for (int64_t o = 0; o < filters; ++o) {
        const int64_t count = static_cast<int64_t>(differing[o / 2][o % 2]);
        out[o * product.filter_stride + p * product.pixel_stride] = static_cast<float>(product.bits - 2 * count);
      }
    }
  }
}

}  // namespace bmx
