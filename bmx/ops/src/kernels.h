// The seam between the operators and the code of one instruction set.
//
// A kernel is all the code of an instruction set; nothing else asks what the CPU can do. Its binary dot products are
// between packed activations and packed weights. Both are sequences of 64-bit words along the reduction (tap by tap,
// channels innermost); bits beyond the last channel are 0 in both.
#ifndef BMX_KERNELS_H_
#define BMX_KERNELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "elementwise.h"

namespace bmx {

// A kernel computes filters in multiples of this; what it writes for the missing ones is undefined.
constexpr int64_t kFilterTile = 64;

// Weights come interleaved: (blocks of up to kFilterTile filters, depth, filters of the block) words, those of a last
// block rounded up to this many filters, of which missing ones are 0.
constexpr int64_t kInterleaved = 8;

// A convolution has so many pixels computed at once: with kFilterTile filters' results they stay in L1.
constexpr int64_t kPixelTile = 32;

inline int64_t ceil_div(int64_t value, int64_t by) { return (value + by - 1) / by; }

inline int64_t round_up(int64_t value, int64_t multiple) { return ceil_div(value, multiple) * multiple; }

// Of a block that begins where so many filters are left: how many are stored.
inline int64_t interleaved_filters(int64_t left) {
  return left < kFilterTile ? round_up(left, kInterleaved) : kFilterTile;
}

inline int64_t interleaved_bytes(int64_t filters, int64_t depth) { return round_up(filters, kInterleaved) * depth * 8; }

// out[p * out_stride + o] = bits - 2 * popcount(activation(p) xor weight(o)) for every filter o and pixel p. Word k of
// activation(p) is activations[origins[p] + taps[k]].
struct Product {
  const uint64_t* activations;
  const int64_t* origins;  // [pixels]
  const int64_t* taps;     // [depth]
  const void* weights;     // interleaved, or as this kernel's `prepare` laid them out, then 64-byte aligned
  int64_t depth;           // words in the reduction
  int64_t bits;            // binary values in the reduction, at most 64 * depth
  int64_t filters;
  int64_t pixels;
  int32_t* out;        // 64-byte aligned
  int64_t out_stride;  // at least round_up(filters, kFilterTile), a multiple of 16
};

// Binarizes adjacent channels of adjacent pixels of one row: bit c of pixel p, out[p * out_stride + c / 32] >> c % 32,
// is (data[p * pixel_stride + c * channel_stride] >= threshold[c]) xor bit c of flip. Unused bits of the last half
// become 0; those of flip are 0.
template <typename Value>
struct Binarization {
  const Value* data;
  int64_t channel_stride, pixel_stride;  // one of them is 1
  int64_t channels, pixels;
  const Value* threshold;  // [channels]
  const uint32_t* flip;    // [ceil(channels / 32)]
  uint32_t* out;           // halves of words, 4-byte aligned
  int64_t out_stride;      // in halves
};

// Positions of an image for which a kernel looks up small groups at once.
constexpr int64_t kPositions = 64;

// Where the look-up for weights w, of which only those in the mask count, has its 16 entries; both have four bits.
constexpr int lookup_entry(int w, int mask) { return mask << 8 | w << 4; }

// The product for groups of few channels, derived in small_groups.h. For every group, filter of it and position p:
// out[p] = bits - 2 * the sum over all k of popcount(mask(k) & (w(k) xor indices[offsets[k] + p])).
struct Lookups {
  const uint8_t* indices;   // below 16; of the first group
  int64_t group_stride;     // from the indices of a group to those of the next
  const int64_t* offsets;   // [count]
  const uint16_t* entries;  // [groups][filters][count], lookup_entry(w, mask)
  int64_t count, groups, filters;
  int64_t bits;  // at most kMaxLookupBits
  int16_t* out;  // [groups][filters][kPositions]
};
constexpr int64_t kMaxLookupBits = 16384;

// From the words of pixels to the indices of Lookups. Each holds fields of `field_channels` channels, of `taps` pixels
// that are `step` pixels apart, the lowest bits from the pixel itself: row f, out[f * out_stride + p], those of the
// channels from f * field_channels on.
struct Spread {
  const uint64_t* words;  // of pixels + round_up((taps - 1) * step, kPositions) pixels
  int64_t pixel_stride;
  int64_t channels;        // at most 64; rows of up to round_up(channels, 8) of them are written
  int64_t field_channels;  // 1, 2 or 4
  int64_t taps;            // at most 4 / field_channels
  int64_t step;
  int64_t pixels;  // a multiple of kPositions, at most kSpreadPixels
  uint8_t* out;
  int64_t out_stride;
};
constexpr int64_t kSpreadPixels = 512;
constexpr int64_t kSpreadReach = 64;  // the largest (taps - 1) * step

// Sums of products in float32. For every row r and column j:
// out[r * out_stride + j] = the sum over all k of rows[row_offsets[k] + r] * columns[column_offsets[k] + at(j)],
// a chain of fused multiply-adds in the order of k that begins with +0; at(j) = j / 16 * block_stride + j % 16.
// One of the two are the pixels of an image, the other the filters.
struct FloatProduct {
  const float* rows;
  const int64_t* row_offsets;  // [depth]
  int64_t row_count;
  const float* columns;
  const int64_t* column_offsets;  // [depth]
  int64_t block_stride;
  int64_t column_count;  // a multiple of kFloatLanes
  int64_t depth;
  float* out;
  int64_t out_stride;
};
constexpr int64_t kFloatLanes = 16;

// Sums of float32 values with signs, four values at once (sign_sums.h). For every row r and column j:
// out[r * out_stride + j] = the sum over all k of table(r, k)[indices[index_offsets[k] + j]], in the order of k, which
// begins with +0, or with what is in `out`. The sign of a sum that is zero is a plus.
struct SignSums {
  const float* tables;           // table(r, k) begins at tables + r * row_stride + table_offsets[k]
  const int64_t* table_offsets;  // [depth]
  int64_t row_stride;
  int64_t rows;
  const uint8_t* indices;        // sign_index()
  const int64_t* index_offsets;  // [depth]
  int64_t columns;               // a multiple of kFloatLanes
  int64_t depth;                 // at least 1
  bool begins;                   // with +0
  float* out;
  int64_t out_stride;
};

// Of four values x the entry of their signs s is (s0 x0 + s1 x1) + (s2 x2 + s3 x3), each sum rounded.
constexpr int64_t kSignEntries = 16;

// Bit i is that of value i, 1 for +1. The upper entries are the negatives of the lower ones, whose last sign is +1.
inline int sign_index(int bits) { return bits & 8 ? bits & 7 : bits ^ 15; }

// Value i of table t is first[i * value_stride + t * step].
struct SignTables {
  const float* first;
  int64_t value_stride, step;
  int64_t values;  // 1 to 4 of a table, the others are 0
  int64_t tables;
  float* out;
  int64_t out_stride;  // from a table to the next
};

// All functions are single-threaded; the caller splits the work among threads.
struct Kernel {
  const char* name;
  bool (*supported)();  // can this CPU, under this operating system, run it?
  // Bytes that `prepare` writes. Both are null where `multiply` reads interleaved weights.
  int64_t (*prepared_bytes)(int64_t filters, int64_t depth);
  // Brings interleaved weights to the layout that `multiply` reads; `prepared` is 64-byte aligned.
  void (*prepare)(const uint64_t* weights, int64_t filters, int64_t depth, void* prepared);
  void (*multiply)(const Product& product);
  void (*binarize_floats)(const Binarization<float>& binarization);
  void (*binarize_shorts)(const Binarization<int16_t>& binarization);  // channel_stride is 1
  void (*spread)(const Spread& spread);
  void (*look_up)(const Lookups& lookups);
  void (*multiply_floats)(const FloatProduct& product);
  void (*add_signed)(const SignSums& sums);
  void (*make_sign_tables)(const SignTables& tables);
  // What 128 products cost in `look_up`, where as many in `multiply` cost 1 (of 32 filters, be there fewer, and a 16th
  // of a word). With it convolutions whose groups have few channels are computed the faster way: so measured on a
  // thread of an AMD EPYC with Zen 5, windows of 1x1 and 3x3, groups of 1 to 64 channels, images of 7x7 to 28x28, the
  // others (NEON, AMX) estimated.
  double lookup_cost;
  // Repeats the instructions that bound `multiply`, data in registers or L1, `iterations` times; binary products done.
  int64_t (*bound)(int64_t iterations);
  int64_t (*float_bound)(int64_t iterations);  // the same of `multiply_floats`; multiply-adds done
  Elementwise elementwise;
};

// All kernels of this build, the slowest first. Dispatch, tests and benchmarks read this table and no other.
const std::vector<Kernel>& kernels();

// The kernel `name`. Throws Error where it is unknown or this CPU does not support it.
const Kernel& find_kernel(const std::string& name);

// The kernel in use: the fastest supported one, or the one that BMX_ISA names. Throws Error as find_kernel does.
const Kernel& current_kernel();

// Puts the kernel `name` in use for the whole process. Throws Error as find_kernel does.
void use_kernel(const std::string& name);

}  // namespace bmx

#endif  // BMX_KERNELS_H_
