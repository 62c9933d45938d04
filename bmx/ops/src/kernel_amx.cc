// Kernel for AMX: products of bytes that are +1 and -1, expanded from the packed bits on the way into the tiles.
//
// A step multiplies one word (64 channels) of 32 pixels with one of 32 filters: four TDPBSSD of 16 cycles each, and in
// their shadow four TILELOADD of 8. The words are expanded two steps ahead, 64 bytes by a load into a mask, a blend and
// a store: 32 words of the pixels in the first pass over the filters, 32 of the filters in the first tiles of pixels.
// So there are at most 64 stores in the 64 cycles of a step, on the average over 64 pixels and 64 filters 32. kSteps
// steps fit the L1 cache: 2 KB a step for the pixels and 2 KB for the filters.
//
// Bits beyond the last channel are 0 in both operands and multiply to +1: sums start with minus their number.
#include "kernels.h"
#include "target.h"

#ifdef BMX_HAS_AMX

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace bmx {

namespace {

constexpr int64_t kRows = 16;         // of a tile: pixels, or filters of a tile of weights
constexpr int64_t kSide = 2 * kRows;  // pixels and filters of a step
constexpr int64_t kWordBytes = 64;    // of one word, expanded
constexpr int64_t kSteps = 9;         // expanded at a time: a word of each tap of a 3x3 convolution
constexpr int64_t kAhead = 2;         // steps between the expansion of a word and its use
constexpr int64_t kPasses = kFilterTile / kSide;

bool detect() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 25 & 1)) return false;  // AMX-TILE, -INT8
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low >> 17 & 3) != 3) return false;  // the system saves the tiles' configuration and data
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool supported() {
  static const bool answer = detect();  // permission is asked for once
  return answer;
}

int64_t prepared_bytes(int64_t filters, int64_t depth) { return round_up(filters, kSide) * depth * 8; }

// What LDTILECFG reads.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

}  // namespace

}  // namespace bmx

BMX_TARGET("avx512f,avx512bw")

#include "binarize_avx512.h"
#include "elementwise_avx512.h"
#include "float_product_avx512.h"
#include "sign_sums_avx512.h"
#include "small_groups_avx512.h"

namespace bmx {

namespace {

// Eight rows.
typedef uint64_t Rows __attribute__((vector_size(64)));

// `a` where the bits of `from_a` are set, else `b`.
inline Rows blend(Rows from_a, Rows a, Rows b) { return (a & from_a) | (b & ~from_a); }

// Makes 16 rows of 16 half-bytes columns: for 8, 4, 2 and 1, every row exchanges half of its half-bytes with the row so
// many further on. The halves that come from the earlier and from the later row are shifted, in one rotation.
void transpose_tile(uint64_t* rows) {
  const Rows none = {}, lane = {0, 1, 2, 3, 4, 5, 6, 7}, lower = ~none >> 32;
  const Rows first = (Rows)_mm512_load_si512(rows), second = (Rows)_mm512_load_si512(rows + 8);
  Rows halves[2] = {blend(lower, first, second << 32), blend(lower, first >> 32, second)};
  const uint64_t columns[] = {0x0f0f0f0f0f0f0f0f, 0x00ff00ff00ff00ff, 0x0000ffff0000ffff};
  for (int i = 2; i >= 0; --i) {
    const Rows later = -(lane >> i & 1);  // all bits in rows whose partner is an earlier one
    const Rows keep = columns[i] ^ later, partner = lane ^ (1 << i);
    const Rows rotation = blend(later, none + (64 - (4 << i)), none + (4 << i));
    for (Rows& half : halves) {
      const __m512i other = _mm512_maskz_permutexvar_epi64(0xff, (__m512i)partner, (__m512i)half);
      half = blend(keep, half, (Rows)_mm512_maskz_rolv_epi64(0xff, other, (__m512i)rotation));
    }
  }
  _mm512_store_si512(rows, (__m512i)halves[0]);
  _mm512_store_si512(rows + 8, (__m512i)halves[1]);
}

// (blocks of kSide filters, depth, 2 tiles, kRows) words: a row of a tile are channels 4 * row + (0 to 3) of each of
// its kRows filters. Missing filters are 0.
void prepare(const uint64_t* weights, int64_t filters, int64_t depth, void* prepared) {
  uint64_t* to = static_cast<uint64_t*>(prepared);
  for (int64_t block = 0; block < filters; block += kSide, to += kSide * depth) {
    const int64_t left = filters - block / kFilterTile * kFilterTile, first = block % kFilterTile;
    const int64_t stored = interleaved_filters(left);
    const uint64_t* from = weights + (block - first) * depth + first;
    for (int64_t k = 0; k < depth; ++k, from += stored) {
      for (int64_t f = 0; f < kSide; ++f) to[k * kSide + f] = first + f < stored ? from[f] : 0;
    }
    for (int64_t i = 0; i < depth * kSide; i += kRows) transpose_tile(to + i);
  }
}

// The compilers' intrinsics do not say that they read and write memory.
#define BMX_TILE_LOAD(tile, from, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"(int64_t{stride}) : "memory")
#define BMX_TILE_STORE(tile, to, stride) \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"(int64_t{stride}) : "memory")
#define BMX_TILE_DOT(sum, pixels, filters) \
  __asm__ volatile("tdpbssd %%tmm" #filters ", %%tmm" #pixels ", %%tmm" #sum : : : "memory")

// Tiles: 0 and 1 sums of the first pixels with the first and the second kRows filters, 2 and 3 those of the other
// pixels; 4 and 5 pixels; 6 and 7 filters. All tiles of pixels have the same number of them.
void configure(int64_t pixels) {
  Configuration configuration;
  for (int tile = 0; tile < 8; ++tile) {
    configuration.rows[tile] = static_cast<uint8_t>(tile < 6 ? pixels : kRows);
    configuration.row_bytes[tile] = 64;
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(configuration));
}

inline __attribute__((always_inline)) void expand(uint64_t word, int8_t* to) {
  const __m512i bytes = _mm512_mask_blend_epi8(_cvtu64_mask64(word), _mm512_set1_epi8(-1), _mm512_set1_epi8(1));
  _mm512_store_si512(to, bytes);
}

// Up to kSteps words of one or two tiles of pixels and of one block of kSide filters.
struct Pass {
  int64_t steps;
  int64_t rows;                        // pixels in a tile
  const uint64_t* const* activations;  // of the pixels
  const int64_t* taps;                 // [steps]
  const uint64_t* weights;             // (steps, kSide)
  int8_t* pixels;                      // (steps, kSide, kWordBytes): expanded
  int8_t* filters;                     // (steps, kSide, kWordBytes): expanded
  const int32_t* from;                 // what the sums start with, its rows from_stride bytes apart
  int64_t from_stride;
  int32_t* out;  // its rows out_stride bytes apart
  int64_t out_stride;
};

template <int Tiles, bool ExpandPixels, bool ExpandFilters>
inline __attribute__((always_inline)) void expand_step(const Pass& pass, int64_t k) {
  if (ExpandPixels) {
    const uint64_t* const* activations = pass.activations;
    const int64_t tap = pass.taps[k];
    int8_t* to = pass.pixels + k * kSide * kWordBytes;
#pragma GCC unroll 8
    for (int64_t left = Tiles * pass.rows; left > 0; --left, to += kWordBytes) expand((*activations++)[tap], to);
  }
  if (ExpandFilters) {
    const uint64_t* weights = pass.weights + k * kSide;
    int8_t* to = pass.filters + k * kSide * kWordBytes;
#pragma GCC unroll 8
    for (int64_t i = 0; i < kSide; ++i) expand(weights[i], to + i * kWordBytes);
  }
}

// `Tiles` tiles of pixels. What is not expanded here was so before.
template <int Tiles, bool ExpandPixels, bool ExpandFilters>
void run_pass(const Pass& pass) {
  for (int64_t k = 0; k < kAhead && k < pass.steps; ++k) expand_step<Tiles, ExpandPixels, ExpandFilters>(pass, k);
  const int32_t* next_from = pass.from + pass.rows * pass.from_stride / 4;
  BMX_TILE_LOAD(0, pass.from, pass.from_stride);
  BMX_TILE_LOAD(1, pass.from + kRows, pass.from_stride);
  if (Tiles == 2) {
    BMX_TILE_LOAD(2, next_from, pass.from_stride);
    BMX_TILE_LOAD(3, next_from + kRows, pass.from_stride);
  }
  for (int64_t k = 0; k < pass.steps; ++k) {
    if (k + kAhead < pass.steps) expand_step<Tiles, ExpandPixels, ExpandFilters>(pass, k + kAhead);
    const int8_t* pixels = pass.pixels + k * kSide * kWordBytes;
    const int8_t* filters = pass.filters + k * kSide * kWordBytes;
    BMX_TILE_LOAD(6, filters, kWordBytes);
    BMX_TILE_LOAD(4, pixels, kWordBytes);
    BMX_TILE_DOT(0, 4, 6);
    if (Tiles == 2) {
      BMX_TILE_LOAD(5, pixels + pass.rows * kWordBytes, kWordBytes);
      BMX_TILE_DOT(2, 5, 6);
    }
    BMX_TILE_LOAD(7, filters + kRows * kWordBytes, kWordBytes);
    BMX_TILE_DOT(1, 4, 7);
    if (Tiles == 2) BMX_TILE_DOT(3, 5, 7);
  }
  int32_t* next_out = pass.out + pass.rows * pass.out_stride / 4;
  BMX_TILE_STORE(0, pass.out, pass.out_stride);
  if (Tiles == 2) BMX_TILE_STORE(2, next_out, pass.out_stride);
  BMX_TILE_STORE(1, pass.out + kRows, pass.out_stride);
  if (Tiles == 2) BMX_TILE_STORE(3, next_out + kRows, pass.out_stride);
}

// All pixels, `Tiles` tiles of `rows` of them at a time, with up to kFilterTile filters from `first` on.
template <int Tiles>
void multiply_block(const Product& product, int64_t first, int64_t rows) {
  alignas(64) int8_t pixels[kSteps * kSide * kWordBytes], filters[kPasses][kSteps * kSide * kWordBytes];
  alignas(64) int32_t last[kSide * kFilterTile];  // sums of the last tiles, where those go beyond the last pixel
  int32_t start[kSide];
  for (int32_t& sum : start) sum = static_cast<int32_t>(product.bits - 64 * product.depth);
  const int64_t passes = product.filters - first > kSide ? kPasses : 1;
  const int64_t chunks = ceil_div(product.depth, kSteps);
  const int64_t whole = product.pixels / (Tiles * rows) * (Tiles * rows);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t word = product.depth * chunk / chunks;
    Pass pass;
    pass.steps = product.depth * (chunk + 1) / chunks - word;
    pass.rows = rows;
    pass.taps = product.taps + word;
    pass.pixels = pixels;
    for (int64_t p = 0; p < product.pixels; p += Tiles * rows) {
      const uint64_t* activations[kSide];
      for (int64_t i = 0; i < Tiles * rows; ++i) {
        activations[i] = product.activations + product.origins[p + i < product.pixels ? p + i : p];
      }
      pass.activations = activations;
      pass.out_stride = 4 * (p < whole ? product.out_stride : kFilterTile);
      pass.from_stride = chunk ? pass.out_stride : 0;
      for (int64_t i = 0; i < passes; ++i) {
        pass.weights =
            static_cast<const uint64_t*>(product.weights) + (first + i * kSide) * product.depth + word * kSide;
        pass.filters = filters[i];
        pass.out = (p < whole ? product.out + p * product.out_stride + first : last) + i * kSide;
        pass.from = chunk ? pass.out : start;
        if (p == 0) {
          i == 0 ? run_pass<Tiles, true, true>(pass) : run_pass<Tiles, false, true>(pass);
        } else {
          i == 0 ? run_pass<Tiles, true, false>(pass) : run_pass<Tiles, false, false>(pass);
        }
      }
    }
  }
  for (int64_t p = whole; p < product.pixels; ++p) {
    std::memcpy(product.out + p * product.out_stride + first, last + (p - whole) * kFilterTile, 4 * passes * kSide);
  }
}

void multiply(const Product& product) {
  const int64_t tiles = product.pixels > kRows ? 2 : 1;
  const int64_t all_tiles = ceil_div(product.pixels, tiles * kRows) * tiles;
  const int64_t rows = ceil_div(product.pixels, all_tiles);
  configure(rows);
  for (int64_t first = 0; first < product.filters; first += kFilterTile) {
    tiles == 2 ? multiply_block<2>(product, first, rows) : multiply_block<1>(product, first, rows);
  }
  __asm__ volatile("tilerelease");
}

int64_t bound(int64_t iterations) {
  alignas(64) int8_t pixels[kSide * kWordBytes] = {}, filters[kSide * kWordBytes] = {};
  configure(kRows);
  for (int64_t i = 0; i < iterations; ++i) {
    BMX_TILE_LOAD(6, filters, kWordBytes);
    BMX_TILE_LOAD(4, pixels, kWordBytes);
    BMX_TILE_DOT(0, 4, 6);
    BMX_TILE_LOAD(5, pixels + kRows * kWordBytes, kWordBytes);
    BMX_TILE_DOT(2, 5, 6);
    BMX_TILE_LOAD(7, filters + kRows * kWordBytes, kWordBytes);
    BMX_TILE_DOT(1, 4, 7);
    BMX_TILE_DOT(3, 5, 7);
  }
  __asm__ volatile("tilerelease");
  return iterations * kSide * kSide * 64;
}

#undef BMX_TILE_LOAD
#undef BMX_TILE_STORE
#undef BMX_TILE_DOT

}  // namespace

}  // namespace bmx

BMX_TARGET_END

namespace bmx {

extern const Kernel kAmx = {"amx",
                            supported,
                            prepared_bytes,
                            prepare,
                            multiply,
                            binarize_floats,
                            binarize_shorts,
                            spread<64>,
                            look_up<Table>,
                            multiply_floats<Floats>,
                            add_signed<Signs>,
                            make_sign_tables<64>,
                            3,
                            bound,
                            float_bound<Floats>,
                            elementwise<Avx512>()};

}  // namespace bmx

#endif  // BMX_HAS_AMX
