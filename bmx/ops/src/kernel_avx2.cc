// Kernel for AVX2, which does not count bits but looks up 32 bytes at once: four bits of an activation choose a table,
// four bits of 32 filters' weights are the indices into it. That counts 128 products in two instructions; counting the
// bits of xor with carry-save adders takes about five for as many.
#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <cstring>

#include "target.h"

namespace bmx {

namespace {

constexpr int64_t kVectorFilters = 32;  // one byte each
constexpr int64_t kNibbles = 16;        // in a word: the lower ones of its bytes, then the upper ones
constexpr int64_t kByteWords = 3;       // counts of so many words fit a byte
constexpr int64_t kShortWords = 96;     // and of so many 16 bits; a multiple of kByteWords
constexpr int kPixels = 3;              // in a tile: its counts stay in registers

bool supported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

int64_t prepared_bytes(int64_t filters, int64_t depth) { return round_up(filters, kVectorFilters) * depth * kNibbles; }

}  // namespace

}  // namespace bmx

BMX_TARGET("avx2,fma")

#include "binarize.h"
#include "elementwise_avx.h"
#include "float_product.h"
#include "sign_sums.h"
#include "small_groups.h"
#include "transposition.h"

namespace bmx {
namespace {

inline __m256i load(const void* from) { return _mm256_load_si256(static_cast<const __m256i*>(from)); }

typedef VectorOf<uint64_t, 32>::Type Words;

// For each four bits of an activation a table of 16 bytes: in how many bits it differs from four bits of a weight.
constexpr const uint8_t* kDiffering = kDifferences.of + lookup_entry(0, 15);

// (blocks of 64 filters or at the end 32, depth, kNibbles, filters of the block) bytes: missing filters are 0. Of each
// 32 filters the first 16 are at even bytes, the others at odd ones.
void prepare(const uint64_t* weights, int64_t filters, int64_t depth, void* prepared) {
  uint8_t* to = static_cast<uint8_t*>(prepared);
  for (int64_t block = 0; block < filters; block += kFilterTile) {
    const int64_t left = filters - block, width = left > kVectorFilters ? kFilterTile : kVectorFilters;
    const int64_t stored = interleaved_filters(left);
    for (int64_t k = 0; k < depth; ++k, weights += stored) {
      for (int64_t first = 0; first < width; first += kVectorFilters) {
        Words rows[8];
        for (int row = 0; row < 8; ++row) {
          for (int lane = 0; lane < 4; ++lane) {
            const int byte = 8 * lane + row;
            const int64_t filter = first + byte % 2 * (kVectorFilters / 2) + byte / 2;
            rows[row][lane] = filter < stored ? weights[filter] : 0;
          }
        }
        transpose_bytes(rows);
        for (int row = 0; row < 8; ++row) {
          const uint64_t low = 0x0f0f0f0f0f0f0f0f;
          const Words nibbles[2] = {rows[row] & low, rows[row] >> 4 & low};
          for (int half = 0; half < 2; ++half) {
            std::memcpy(to + (8 * half + row) * width + first, &nibbles[half], sizeof nibbles[half]);
          }
        }
      }
      to += kNibbles * width;
    }
  }
}

// Sixteen dots of two vectors of counts; `again`: more words of the same reduction.
inline void store_dots(__m256i counts, __m256i bits, bool again, int32_t* out) {
  const __m128i parts[2] = {_mm256_castsi256_si128(counts), _mm256_extracti128_si256(counts, 1)};
  for (int i = 0; i < 2; ++i) {
    const __m256i count = _mm256_cvtepu16_epi32(parts[i]);
    const __m256i from = again ? load(out + 8 * i) : bits;
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + 8 * i), _mm256_sub_epi32(from, _mm256_add_epi32(count, count)));
  }
}

template <int Pixels, int Vectors>
inline __attribute__((always_inline)) void multiply_tile(const Product& product, const uint8_t* weights, int64_t pixel,
                                                         int32_t* out) {
  // where in kDiffering the table of each nibble is
  alignas(8) uint8_t tables[Pixels][kShortWords * kNibbles];
  const __m256i low_bytes = _mm256_set1_epi16(0xff), bits = _mm256_set1_epi32(static_cast<int32_t>(product.bits));
  for (int64_t begin = 0; begin < product.depth; begin += kShortWords) {
    const int64_t depth = product.depth - begin < kShortWords ? product.depth - begin : kShortWords;
    for (int p = 0; p < Pixels; ++p) {
      const uint64_t* activations = product.activations + product.origins[pixel + p];
      for (int64_t k = 0; k < depth; ++k) {
        const uint64_t word = activations[product.taps[begin + k]], upper = 0xf0f0f0f0f0f0f0f0;
        const uint64_t both[2] = {word << 4 & upper, word & upper};
        std::memcpy(tables[p] + k * kNibbles, both, sizeof both);
      }
    }
    __m256i even[Pixels][Vectors], odd[Pixels][Vectors];  // filters
    for (int p = 0; p < Pixels; ++p) {
      for (int v = 0; v < Vectors; ++v) even[p][v] = odd[p][v] = _mm256_setzero_si256();
    }
    for (int64_t first = 0; first < depth; first += kByteWords) {
      const int64_t end = (first + kByteWords < depth ? first + kByteWords : depth) * kNibbles;
      __m256i counts[Pixels][Vectors];
      for (int p = 0; p < Pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) counts[p][v] = _mm256_setzero_si256();
      }
#pragma GCC unroll 4
      for (int64_t n = first * kNibbles; n < end; ++n, weights += Vectors * kVectorFilters) {
        for (int p = 0; p < Pixels; ++p) {
          const __m128i entries = _mm_load_si128(reinterpret_cast<const __m128i*>(kDiffering + tables[p][n]));
          const __m256i table = _mm256_broadcastsi128_si256(entries);
          for (int v = 0; v < Vectors; ++v) {
            const __m256i differing = _mm256_shuffle_epi8(table, load(weights + v * kVectorFilters));
            counts[p][v] = _mm256_add_epi8(counts[p][v], differing);
          }
        }
      }
      for (int p = 0; p < Pixels; ++p) {
        for (int v = 0; v < Vectors; ++v) {
          even[p][v] = _mm256_add_epi16(even[p][v], _mm256_and_si256(counts[p][v], low_bytes));
          odd[p][v] = _mm256_add_epi16(odd[p][v], _mm256_srli_epi16(counts[p][v], 8));
        }
      }
    }
    for (int p = 0; p < Pixels; ++p) {
      for (int v = 0; v < Vectors; ++v) {
        int32_t* to = out + (pixel + p) * product.out_stride + v * kVectorFilters;
        store_dots(even[p][v], bits, begin > 0, to);
        store_dots(odd[p][v], bits, begin > 0, to + kVectorFilters / 2);
      }
    }
  }
}

template <int Vectors>
void multiply_block(const Product& product, const uint8_t* weights, int32_t* out) {
  int64_t p = 0;
  for (; p + kPixels <= product.pixels; p += kPixels) multiply_tile<kPixels, Vectors>(product, weights, p, out);
  if (product.pixels - p == 2) multiply_tile<2, Vectors>(product, weights, p, out);
  if (product.pixels - p == 1) multiply_tile<1, Vectors>(product, weights, p, out);
}

void multiply(const Product& product) {
  const uint8_t* weights = static_cast<const uint8_t*>(product.weights);
  for (int64_t first = 0; first < product.filters; first += kFilterTile) {
    const auto run = product.filters - first > kVectorFilters ? multiply_block<2> : multiply_block<1>;
    run(product, weights + first * product.depth * kNibbles, product.out + first);
  }
}

class Table {
 public:
  typedef VectorOf<uint8_t, 32>::Type Vector;

  explicit Table(int64_t entry)
      : entries_(
            _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(kDifferences.of + entry)))) {}
  Vector at(const Vector& indices) const { return (Vector)_mm256_shuffle_epi8(entries_, (__m256i)indices); }

 private:
  __m256i entries_;
};

struct Floats {
  typedef __m256 Vector;
  static constexpr int kLanes = 8, kRows = 4, kSums = 12;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector all(float value) { return _mm256_set1_ps(value); }
  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(const Vector& vector, float* to) { _mm256_storeu_ps(to, vector); }
  static Vector multiply_add(const Vector& a, const Vector& b, const Vector& sum) { return _mm256_fmadd_ps(a, b, sum); }
};

// The lower half of a table, and the sign of bit 3 of an index.
struct Signs : Floats {
  struct Index {
    __m256i entry;
    __m256 sign;
  };
  typedef __m256 Table;
  static constexpr int kRows = 4, kSums = 8;

  static Index index(const uint8_t* from) {
    const __m256i all = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(all, 28), _mm256_set1_epi32(INT32_MIN));
    return {all, _mm256_castsi256_ps(sign)};
  }
  static Table table(const float* from) { return _mm256_loadu_ps(from); }
  static Vector look_up(const Table& table, const Index& index) {
    return _mm256_xor_ps(_mm256_permutevar8x32_ps(table, index.entry), index.sign);
  }
};

int64_t bound(int64_t iterations) {
  constexpr int kCounts = 8;
  __m256i counts[kCounts], table = load(kDiffering), indices = table;
#pragma GCC unroll 8
  for (int i = 0; i < kCounts; ++i) counts[i] = _mm256_setzero_si256();
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kCounts; ++j) {
      __asm__("" : "+x"(table), "+x"(indices));
      counts[j] = _mm256_add_epi8(counts[j], _mm256_shuffle_epi8(table, indices));
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCounts; ++i) __asm__ volatile("" : : "x"(counts[i]));
  return iterations * kCounts * 128;
}

}  // namespace
}  // namespace bmx

BMX_TARGET_END

namespace bmx {

extern const Kernel kAvx2 = {"avx2",
                             supported,
                             prepared_bytes,
                             prepare,
                             multiply,
                             binarize_floats<32>,
                             binarize_shorts<32>,
                             spread<32>,
                             look_up<Table>,
                             multiply_floats<Floats>,
                             add_signed<Signs>,
                             make_sign_tables<32>,
                             1,
                             bound,
                             float_bound<Floats>,
                             elementwise<Avx>()};

}  // namespace bmx

#endif  // __x86_64__
