#include "packing.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "profile.h"
#include "team.h"

namespace bmx {
namespace {

constexpr int64_t kPixels = 64;      // adjacent pixels that a thread packs at once
constexpr int64_t kAsideHalves = 8;  // of a part whose bits do not go straight to their place

// A bit string of `channels` ones, word w of it.
uint64_t ones_word(int64_t channels, int64_t w) {
  const int64_t left = channels - w * kWordBits;
  return left >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
}

// A bit string of up to kHalf flags.
uint32_t bits_of(const bool* flags, int64_t count) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, flags + i, std::min<int64_t>(8, count - i));
    bits |= static_cast<uint32_t>(eight * 0x0102040810204080 >> 56) << i;  // byte k becomes bit k of the highest byte
  }
  return bits;
}

}  // namespace

Packer::Packer(const Input& input, const std::vector<Slice>& in, const float* threshold, const Kernel& kernel,
               int64_t planes, bool counted)
    : input_(input),
      kernel_(kernel),
      planes_(planes),
      counted_(counted),
      comparisons_(comparisons(planes, counted)),
      floats_(comparisons_ * input.channels),
      shorts_(comparisons_ * input.channels) {
  std::unique_ptr<bool[]> flip(new bool[comparisons_ * input.channels]());
  parts_.reserve(in.size() + input.groups);
  flip_.reserve(comparisons_ * (in.size() + input.groups + input.channels / kHalf));
  int64_t first = 0;
  for (const Slice& source : in) {
    for (int64_t i = 0; threshold && i < comparisons_; ++i) {
      const float *t = threshold + 2 * i * input.channels + first, *d = t + input.channels;
      const int64_t at = i * input.channels + first;
      const Elementwise& elementwise = kernel.elementwise;
      if (source.layout == Layout::kShorts) {
        elementwise.limit_shorts(t, d, source.channels, &shorts_[at], &flip[at]);
      } else {
        elementwise.limit_floats(t, d, source.channels, &floats_[at], &flip[at]);
      }
    }
    add_parts(source, first, flip.get());
    first += source.channels;
  }
}

// Parts whose bits are worked on before they get to their place are kept short, so that they fit the memory for it.
void Packer::add_parts(const Slice& source, int64_t first, const bool* flip) {
  for (int64_t c = 0; c < source.channels;) {
    Part part;
    part.source = source;
    part.channel = c;
    part.group = (first + c) / input_.group_channels();
    part.bit = (first + c) % input_.group_channels();
    part.channels = std::min(source.channels - c, input_.group_channels() - part.bit);
    if (part.bit % kHalf || counted_) part.channels = std::min(part.channels, kAsideHalves * kHalf);
    part.first = first + c;
    part.flip = static_cast<int64_t>(flip_.size());
    for (int64_t i = 0; i < comparisons_; ++i) {
      const bool* of = flip + i * input_.channels + part.first;
      for (int64_t j = 0; j < part.channels; j += kHalf) {
        flip_.push_back(bits_of(of + j, std::min(kHalf, part.channels - j)));
      }
    }
    parts_.push_back(part);
    c += part.channels;
  }
}

void Packer::fill_padding(uint64_t* words) const {
  const int64_t channels = input_.group_channels(), depth = words_for(channels);
  const Size padded = input_.padded();
  for (int64_t y = 0; y < padded.height; ++y) {
    const bool inside = y >= input_.pad.height && y < input_.pad.height + input_.image.height;
    for (int64_t x = 0; x < padded.width; ++x) {
      if (inside && x == input_.pad.width) x += input_.image.width;
      if (x == padded.width) break;
      uint64_t* to = words + (y * padded.width + x) * depth;
      for (int64_t w = 0; w < depth; ++w) to[w] = input_.pad_value == 1 ? ones_word(channels, w) : 0;
    }
  }
}

void Packer::binarize(const Part& part, int64_t comparison, int64_t image, int64_t pixel, int64_t pixels,
                      uint32_t* halves, int64_t stride) const {
  const char* data = part.source.at(image, part.channel, pixel);
  const int64_t channel_stride = part.source.channel_stride(), pixel_stride = part.source.pixel_stride();
  const int64_t limits = comparison * input_.channels + part.first;
  const uint32_t* flip = flip_.data() + part.flip + comparison * part.halves();
  if (part.source.layout == Layout::kShorts) {
    kernel_.binarize_shorts({reinterpret_cast<const int16_t*>(data), channel_stride, pixel_stride, part.channels,
                             pixels, shorts_.data() + limits, flip, halves, stride});
  } else {
    kernel_.binarize_floats({reinterpret_cast<const float*>(data), channel_stride, pixel_stride, part.channels, pixels,
                             floats_.data() + limits, flip, halves, stride});
  }
}

// `halves`: of the pixels, from the one on in which the part begins. Parts come in order: what precedes this one in its
// first half is there already, what follows its last bit in the last one is 0.
void Packer::shift(const Part& part, const uint32_t* unshifted, int64_t unshifted_stride, int64_t pixels,
                   uint32_t* halves) const {
  const int64_t stride = 2 * words_for(input_.group_channels()), shift = part.bit % kHalf;
  if (shift == 0 && unshifted_stride == stride) {
    std::memcpy(halves, unshifted, pixels * stride * sizeof *halves);
    return;
  }
  for (int64_t p = 0; shift == 0 && p < pixels; ++p) {
    std::copy_n(unshifted + p * unshifted_stride, part.halves(), halves + p * stride);
  }
  for (int64_t p = 0; shift && p < pixels; ++p) {
    for (int64_t c = 0, h = 0; c < part.channels; c += kHalf, ++h) {
      const uint32_t bits = unshifted[p * unshifted_stride + h];
      halves[p * stride + h] |= bits << shift;
      if (part.channels - c > kHalf - shift) halves[p * stride + h + 1] = bits >> (kHalf - shift);
    }
  }
}

// `words`: of the pixels, of the first plane and the part's group.
void Packer::pack(const Part& part, int64_t image, int64_t pixel, int64_t pixels, uint64_t* words) const {
  const int64_t stride = 2 * words_for(input_.group_channels());
  for (int64_t plane = 0; plane < planes_; ++plane, words += plane_words()) {
    uint32_t* halves = reinterpret_cast<uint32_t*>(words) + part.bit / kHalf;
    if (part.bit % kHalf == 0) {
      binarize(part, plane, image, pixel, pixels, halves, stride);
    } else {
      uint32_t unshifted[kPixels * kAsideHalves];
      binarize(part, plane, image, pixel, pixels, unshifted, kAsideHalves);
      shift(part, unshifted, kAsideHalves, pixels, halves);
    }
  }
}

// As pack(), of the planes of a counter: comparison i of 1, 2, ... belongs to the planes j where 2^j divides i, to the
// last of them as the first where it is 2^j.
void Packer::count(const Part& part, int64_t image, int64_t pixel, int64_t pixels, uint64_t* words) const {
  uint32_t planes[kMaxPlanes][kPixels * kAsideHalves], held[kPixels * kAsideHalves];
  const int64_t stride = part.halves(), size = pixels * stride;
  for (int64_t i = 1; i <= comparisons_; ++i) {
    const bool first = (i & (i - 1)) == 0;
    const int last = __builtin_ctzll(i);
    uint32_t* bits = first ? planes[last] : held;
    binarize(part, i - 1, image, pixel, pixels, bits, stride);
    for (int plane = 0; plane < last + !first; ++plane) {
      for (int64_t k = 0; k < size; ++k) planes[plane][k] ^= bits[k];
    }
  }
  for (int64_t plane = 0; plane < planes_; ++plane, words += plane_words()) {
    shift(part, planes[plane], stride, pixels, reinterpret_cast<uint32_t*>(words) + part.bit / kHalf);
  }
}

void Packer::run(int64_t image, uint64_t* words) const {
  const Stopwatch stopwatch(Phase::kPacking);
  const int64_t depth = words_for(input_.group_channels()), halves = ceil_div(input_.group_channels(), kHalf);
  const Size padded = input_.padded();
  // without padding at their sides, rows are one
  const int64_t row = input_.pad.width ? input_.image.width : input_.image.pixels();
  const int64_t runs = ceil_div(row, kPixels), tasks = input_.image.pixels() / row * runs;
  const int64_t all_groups = planes_ * input_.groups;
  split(all_groups, [&](int64_t group) { fill_padding(words + group * input_.group_words()); });
  deal(tasks, [&](int64_t task) {  // the first thread may still prepare weights
    const int64_t y = task / runs, x = task % runs * kPixels, pixels = std::min(kPixels, row - x);
    uint64_t* to = words + ((y + input_.pad.height) * padded.width + input_.pad.width + x) * depth;
    for (const Part& part : parts_) {
      uint64_t* of = to + part.group * input_.group_words();
      counted_ ? count(part, image, y * row + x, pixels, of) : pack(part, image, y * row + x, pixels, of);
    }
    if (halves % 2 == 0) return;
    for (int64_t group = 0; group < all_groups; ++group) {
      uint32_t* last = reinterpret_cast<uint32_t*>(to + group * input_.group_words()) + halves;
      for (int64_t p = 0; p < pixels; ++p) last[p * 2 * depth] = 0;
    }
  });
}

void interleave_weights(const uint8_t* weight, int64_t filters, int64_t taps, int64_t channels, uint64_t* words) {
  const int64_t bytes = packed_bytes(channels), depth = words_for(channels);
  for (int64_t block = 0; block < filters; block += kFilterTile) {
    const int64_t left = std::min(kFilterTile, filters - block), stored = interleaved_filters(left);
    for (int64_t first = 0; first < stored; first += kInterleaved) {  // fills whole cache lines
      uint64_t* to = words + first;
      for (int64_t byte = 0; byte < taps * bytes; byte += bytes) {
        for (int64_t w = 0; w < depth; ++w, to += stored) {
          const int64_t size = std::min<int64_t>(8, bytes - 8 * w), filled = std::min(kInterleaved, left - first);
          const uint8_t* from = weight + (block + first) * taps * bytes + byte + 8 * w;
          uint64_t lanes[kInterleaved] = {};  // both least significant bit first
          if (size == 8 && filled == kInterleaved) {
            for (int64_t f = 0; f < kInterleaved; ++f) std::memcpy(lanes + f, from + f * taps * bytes, 8);
          } else {
            for (int64_t f = 0; f < filled; ++f) std::memcpy(lanes + f, from + f * taps * bytes, size);
          }
          std::memcpy(to, lanes, sizeof lanes);
        }
      }
    }
    words += stored * taps * depth;
  }
}

void pack_weights(const Kernel& kernel, const float* weight, int64_t filters, int64_t taps, int64_t channels,
                  uint8_t* packed) {
  const int64_t bytes = packed_bytes(channels), stride = ceil_div(channels, kHalf);
  const std::vector<float> threshold(channels);
  const std::vector<uint32_t> flip(stride);
  std::vector<uint32_t> halves(taps * stride);
  deal(filters, [&](int64_t filter) {
    // of one tap the channels are adjacent
    kernel.binarize_floats({weight + filter * channels * taps, taps, taps == 1 ? channels : 1, channels, taps,
                            threshold.data(), flip.data(), halves.data(), stride});
    uint8_t* to = packed + filter * taps * bytes;
    for (int64_t tap = 0; tap < taps; ++tap, to += bytes) std::memcpy(to, halves.data() + tap * stride, bytes);
  });
}

}  // namespace bmx
