// Convolutions whose groups have few channels, with vectors of `Bytes` bytes. A kernel that runs on part of the CPUs
// only includes this inside its target region, as it does binarize.h.
//
// Vectors run over adjacent positions of an image, one byte each. Four bits of the reduction (channels of one tap, or
// taps of one channel) of all those positions are a vector of indices a into a table of 16 entries, popcount(a xor w)
// for the four weights w of a filter. The reduction is cut into such nibbles, each of them a look-up and an addition of
// bytes: 4 products a lane in two instructions, however few filters share the indices. Bits of an index that the filter
// has no weights for, at the end of a group or of a row of taps, are masked out in the table.
#ifndef BMX_SMALL_GROUPS_H_
#define BMX_SMALL_GROUPS_H_

#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "transposition.h"
#include "vectors.h"

namespace bmx {
namespace {

// of[lookup_entry(w, mask) + a]: bits of the mask that differ between a and w.
struct Differences {
  uint8_t of[16 * 16 * 16];
  constexpr Differences() : of() {
    for (int mask = 0; mask < 16; ++mask) {
      for (int w = 0; w < 16; ++w) {
        for (int a = 0; a < 16; ++a) of[lookup_entry(w, mask) + a] = __builtin_popcount((a ^ w) & mask);
      }
    }
  }
};
alignas(64) constexpr Differences kDifferences;

constexpr int64_t kByteLookups = 63;  // counts of so many look-ups fit a byte

// `Filters` filters of one group. Table: the entries of a look-up, for vectors of Table::Vector.
template <typename Table, int Filters>
inline __attribute__((always_inline)) void look_up_filters(const Lookups& l, const uint8_t* indices,
                                                           const uint16_t* entries, int16_t* out) {
  typedef typename Table::Vector Vector;
  typedef typename VectorOf<int16_t, sizeof(Vector)>::Type Shorts;
  constexpr int kBytes = sizeof(Vector), kVectors = kPositions / kBytes;
  for (int64_t begin = 0; begin < l.count; begin += kByteLookups) {
    const int64_t end = begin + kByteLookups < l.count ? begin + kByteLookups : l.count;
    Vector counts[Filters][kVectors];
    for (int f = 0; f < Filters; ++f) {
      for (int v = 0; v < kVectors; ++v) counts[f][v] = Vector{};
    }
    for (int64_t k = begin; k < end; ++k) {
      Vector index[kVectors];
      for (int v = 0; v < kVectors; ++v) index[v] = load_from<Vector>(indices + l.offsets[k] + v * kBytes);
      for (int f = 0; f < Filters; ++f) {
        const Table table(entries[f * l.count + k]);
        for (int v = 0; v < kVectors; ++v) counts[f][v] += table.at(index[v]);
      }
    }
    for (int f = 0; f < Filters; ++f) {
      alignas(64) uint8_t bytes[kPositions];
      for (int v = 0; v < kVectors; ++v) store_to(counts[f][v], bytes + v * kBytes);
      int16_t* to = out + f * kPositions;
      for (int first = 0; first < kPositions; first += kBytes / 2) {
        int16_t shorts[kBytes / 2];
        for (int p = 0; p < kBytes / 2; ++p) shorts[p] = bytes[first + p];
        const Shorts count = load_from<Shorts>(shorts);
        const Shorts from = begin ? load_from<Shorts>(to + first) : Shorts{} + static_cast<int16_t>(l.bits);
        store_to(from - count - count, to + first);
      }
    }
  }
}

template <typename Table>
void look_up(const Lookups& l) {
  constexpr int kFilters = sizeof(typename Table::Vector) > 16 ? 4 : 2;  // whose counts stay in registers
  const uint16_t* entries = l.entries;
  int16_t* out = l.out;
  const auto advance = [&](int64_t filters) {
    entries += filters * l.count;
    out += filters * kPositions;
  };
  for (int64_t group = 0; group < l.groups; ++group) {
    const uint8_t* indices = l.indices + group * l.group_stride;
    int64_t left = l.filters;
    for (; left >= kFilters; left -= kFilters, advance(kFilters)) {
      look_up_filters<Table, kFilters>(l, indices, entries, out);
    }
    for (; left > 0; --left, advance(1)) look_up_filters<Table, 1>(l, indices, entries, out);
  }
}

// Fields of `Width` bits of a and b take turns: in `low` those at even places of each, in `high` those at odd ones.
template <int Width, typename Words>
inline void interleave(const Words& a, const Words& b, Words* low, Words* high) {
  const uint64_t even = Width == 1 ? 0x5555555555555555 : 0x3333333333333333;
  *low = (a & even) | (b & even) << Width;
  *high = (a >> Width & even) | (b & even << Width);
}

// The lower and the upper nibbles of x, as the bytes of two rows.
template <typename Words>
inline void store_nibbles(const Words& x, uint8_t* low, uint8_t* high) {
  const uint64_t lower = 0x0f0f0f0f0f0f0f0f;
  store_to(x & lower, low);
  store_to(x >> 4 & lower, high);
}

// Byte r of the words of `Bytes` pixels becomes bytes + r * stride, a byte a pixel.
template <int Bytes>
inline void split_bytes(const uint64_t* words, int64_t pixel_stride, uint8_t* bytes, int64_t stride) {
  typedef typename VectorOf<uint64_t, Bytes>::Type Words;
  Words rows[8];
  for (int row = 0; row < 8; ++row) {
    uint64_t lanes[Bytes / 8];
    for (int lane = 0; lane < Bytes / 8; ++lane) lanes[lane] = words[(8 * lane + row) * pixel_stride];
    std::memcpy(&rows[row], lanes, sizeof lanes);
  }
  transpose_bytes(rows);
  for (int row = 0; row < 8; ++row) store_to(rows[row], bytes + row * stride);
}

template <int Bytes>
void spread(const Spread& s) {
  typedef typename VectorOf<uint64_t, Bytes>::Type Words;
  constexpr int64_t kStride = kSpreadPixels + kSpreadReach;
  alignas(64) uint8_t bytes[8 * kStride];
  const int64_t pixels = s.pixels + round_up((s.taps - 1) * s.step, kPositions);
  for (int64_t p = 0; p < pixels; p += Bytes) {
    split_bytes<Bytes>(s.words + p * s.pixel_stride, s.pixel_stride, bytes + p, kStride);
  }
  for (int64_t c = 0; c < s.channels; c += 8) {
    const uint8_t* from = bytes + c / 8 * kStride;
    for (int64_t p = 0; p < s.pixels; p += Bytes, from += Bytes) {
      uint8_t* out = s.out + c / s.field_channels * s.out_stride + p;
      const auto tap = [&](int64_t i) { return i < s.taps ? load_from<Words>(from + i * s.step) : Words{}; };
      const auto row = [&](int i) { return out + i * s.out_stride; };
      if (s.field_channels == 4) {
        store_nibbles(tap(0), row(0), row(1));
        continue;
      }
      Words even, odd;  // of the pairs of channels, or of the channels
      if (s.field_channels == 2) {
        interleave<2>(tap(0), tap(1), &even, &odd);
        store_nibbles(even, row(0), row(2));
        store_nibbles(odd, row(1), row(3));
        continue;
      }
      Words next_even, next_odd, nibbles[4];
      interleave<1>(tap(0), tap(1), &even, &odd);
      interleave<1>(tap(2), tap(3), &next_even, &next_odd);
      interleave<2>(even, next_even, nibbles, nibbles + 2);
      interleave<2>(odd, next_odd, nibbles + 1, nibbles + 3);
      for (int i = 0; i < 4; ++i) store_nibbles(nibbles[i], row(i), row(i + 4));
    }
  }
}

}  // namespace
}  // namespace bmx

#endif  // BMX_SMALL_GROUPS_H_
