// Kernel for any CPU: no popcount instruction is assumed.
//
// Carry-save adders turn eight words into bits of weight 1, 2, 4 (kept) and 8 (counted), so that only one word in eight
// is counted; see Harley and Seal in Warren, "Hacker's Delight", section 5-1, and Mula et al., arXiv:1611.07612.
#include <algorithm>
#include <cstring>

#include "binarize.h"
#include "blocks.h"
#include "elementwise_loops.h"
#include "float_product.h"
#include "kernels.h"
#include "plain_signs.h"
#include "small_groups.h"
#include "target.h"

namespace bmx {

namespace {

// Two 64-bit words: the vector that every x86-64 and AArch64 has.
typedef uint64_t Vector __attribute__((vector_size(16)));

constexpr int kBlock = 4;       // filters in a tile: two vectors of weights
constexpr int kMaxRounds = 31;  // 31 * 8 is the largest count of eights that fits a byte

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

// Sum of the bytes of each word, those of `eights` counted eightfold.
inline Vector sum_bytes(Vector units, Vector eights) {
  const Vector even = all(0x00ff00ff00ff00ff);
  Vector sum = (units & even) + ((units >> 8) & even) + (((eights & even) + ((eights >> 8) & even)) << 3);
  sum = sum + (sum >> 16);
  return (sum + (sum >> 32)) & all(0xffff);
}

// Bits that differ between one pixel and the filters of one block: their bits of weight 1, 2 and 4 so far.
struct Counter {
  Vector ones = all(0), twos = all(0), fours = all(0);

  // Each adds words and returns the carry, of twice, four times or eight times a word's weight.
  Vector add_two(const Vector* x) {
    Vector two;
    ones = add3(ones, x[0], x[1], &two);
    return two;
  }
  Vector add_four(const Vector* x) {
    const Vector first = add_two(x), second = add_two(x + 2);
    Vector four;
    twos = add3(twos, first, second, &four);
    return four;
  }
  Vector add_eight(const Vector* x) {
    const Vector first = add_four(x), second = add_four(x + 4);
    Vector eight;
    fours = add3(fours, first, second, &eight);
    return eight;
  }
};

template <int Vectors>
inline void count_block(const uint64_t* activation, const int64_t* taps, const uint64_t* weights, int64_t depth,
                        Vector total[Vectors]) {
  const auto differing = [&](int64_t k, int count, int v, Vector* x) {
    for (int i = 0; i < count; ++i) x[i] = all(activation[taps[k + i]]) ^ load(weights + (k + i) * kBlock + 2 * v);
  };
  Counter counters[Vectors];
  Vector eights[Vectors], x[8];
  for (int v = 0; v < Vectors; ++v) total[v] = eights[v] = all(0);
  int64_t k = 0;
  for (int round = 0; k + 8 <= depth; k += 8) {
    for (int v = 0; v < Vectors; ++v) {
      differing(k, 8, v, x);
      eights[v] += count_bytes(counters[v].add_eight(x));
    }
    if (++round < kMaxRounds) continue;
    round = 0;
    for (int v = 0; v < Vectors; ++v) {
      total[v] += sum_bytes(all(0), eights[v]);
      eights[v] = all(0);
    }
  }
  const int64_t left = depth - k;
  for (int v = 0; v < Vectors; ++v) {
    Vector units = all(0);  // at most 14 * 8 in a byte
    int64_t at = k;
    if (left & 4) {
      differing(at, 4, v, x);
      units += count_bytes(counters[v].add_four(x)) << 2;
      at += 4;
    }
    if (left & 2) {
      differing(at, 2, v, x);
      units += count_bytes(counters[v].add_two(x)) << 1;
      at += 2;
    }
    if (left & 1) {
      differing(at, 1, v, x);
      units += count_bytes(x[0]);
    }
    units += count_bytes(counters[v].ones) + (count_bytes(counters[v].twos) << 1);
    if (depth >= 8) units += count_bytes(counters[v].fours) << 2;
    total[v] += sum_bytes(units, eights[v]);
  }
}

// `filters` filters of one block: as many vectors as they fill.
template <int Vectors>
void multiply_block(const Product& product, const uint64_t* weights, int64_t filters, int32_t* out) {
  for (int64_t p = 0; p < product.pixels; ++p) {
    Vector differing[Vectors];
    count_block<Vectors>(product.activations + product.origins[p], product.taps, weights, product.depth, differing);
    for (int64_t f = 0; f < filters; ++f) {
      const int64_t count = static_cast<int64_t>(differing[f / 2][f % 2]);
      out[p * product.out_stride + f] = static_cast<int32_t>(product.bits - 2 * count);
    }
  }
}

void multiply(const Product& product) {
  for (int64_t first = 0; first < product.filters; first += kBlock) {
    const int64_t filters = std::min<int64_t>(kBlock, product.filters - first);
    const auto run = filters > 2 ? multiply_block<2> : multiply_block<1>;
    run(product, static_cast<const uint64_t*>(product.weights) + first * product.depth, filters, product.out + first);
  }
}

// Counts the bits instead of looking up their number.
class Table {
 public:
  typedef VectorOf<uint8_t, 16>::Type Vector;

  explicit Table(int entry)
      : weights_(Vector{} + static_cast<uint8_t>(entry >> 4 & 15)),
        mask_(Vector{} + static_cast<uint8_t>(entry >> 8)) {}
  Vector at(const Vector& indices) const {
    const VectorOf<uint64_t, 16>::Type low = all(0x0505050505050505), pairs = all(0x0303030303030303);
    VectorOf<uint64_t, 16>::Type x = (VectorOf<uint64_t, 16>::Type)((indices ^ weights_) & mask_);
    x = x - (x >> 1 & low);
    return (Vector)((x & pairs) + (x >> 2 & pairs));
  }

 private:
  Vector weights_, mask_;
};

typedef float Two __attribute__((vector_size(8)));
typedef double Doubles __attribute__((vector_size(16)));
typedef int64_t Longs __attribute__((vector_size(16)));

// a * b + sum, rounded once, in double precision: the product is exact; the last bit of the sum becomes 1 where it is
// not exact ("round to odd", Boldo and Melquiond, 2008), so that the rounding to float32 cannot err.
inline Two multiply_add(Two a, Two b, Two sum) {
  const Doubles product = __builtin_convertvector(a, Doubles) * __builtin_convertvector(b, Doubles);
  const Doubles addend = __builtin_convertvector(sum, Doubles), near = product + addend, part = near - product;
  const Doubles error = (product - (near - part)) + (addend - part);
  // an error away from zero enlarges the magnitude, which is what the bits count; infinity and NaN have none
  Longs bits = (Longs)near;
  const Longs inexact = (error < 0) | (error > 0), towards = (error < 0) ^ (near < 0), even = (bits & 1) - 1;
  bits += inexact & even & (1 + 2 * towards);
  return __builtin_convertvector((Doubles)bits, Two);
}

struct Floats {
  typedef float Vector __attribute__((vector_size(16)));
  static constexpr int kLanes = 4, kRows = 2, kSums = 4;

  static Vector zero() { return Vector{}; }
  static Vector all(float value) { return Vector{value, value, value, value}; }
  static Vector load(const float* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
  }
  static void store(const Vector& vector, float* to) { std::memcpy(to, &vector, sizeof vector); }
  static Vector multiply_add(const Vector& a, const Vector& b, const Vector& sum) {
    const Two low = bmx::multiply_add(Two{a[0], a[1]}, Two{b[0], b[1]}, Two{sum[0], sum[1]});
    const Two high = bmx::multiply_add(Two{a[2], a[3]}, Two{b[2], b[3]}, Two{sum[2], sum[3]});
    return Vector{low[0], low[1], high[0], high[1]};
  }
};

bool always() { return true; }

int64_t bound(int64_t iterations) {
  const uint64_t words[8] = {};
  Vector x[8], total = all(0);
  Counter counter;
  for (int64_t i = 0; i < iterations; ++i) {
    for (int j = 0; j < 8; ++j) {
      x[j] = load(words);
      __asm__ volatile("" : "+" BMX_VECTOR(x[j]));
    }
    total += count_bytes(counter.add_eight(x));
  }
  __asm__ volatile(""
                   :
                   : BMX_VECTOR(total), BMX_VECTOR(counter.ones), BMX_VECTOR(counter.twos), BMX_VECTOR(counter.fours));
  return iterations * 8 * 128;
}

}  // namespace

extern const Kernel kPortable = {"portable",
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
                                 2,
                                 bound,
                                 float_bound<Floats>,
                                 elementwise<Plain>()};

}  // namespace bmx
