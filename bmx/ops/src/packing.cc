#include "packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"
#include "profile.h"

namespace bmx {
namespace {

constexpr int64_t kHalf = 32;            // bits in half a word: what kernels write
constexpr int64_t kPixels = 64;          // adjacent pixels that a thread packs at once
constexpr int64_t kShiftedHalves = 8;    // of a piece that does not begin with a half
constexpr int64_t kShiftedChannels = kShiftedHalves * kHalf;

// A bit string of `channels` ones, word w of it.
uint64_t ones_word(int64_t channels, int64_t w) {
  const int64_t left = channels - w * kWordBits;
  return left >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
}

// A comparison x >= threshold, whose result may be flipped.
template <typename Value>
struct Limit {
  Value threshold;
  bool flip;
};

Limit<float> float_limit(float t, bool below) {
  if (!below) return {t, false};
  // x <= t is not (x >= the next number); above infinity there is none, and nothing is >= NaN
  const float next = std::nextafter(t, std::numeric_limits<float>::infinity());
  return {next > t ? next : std::numeric_limits<float>::quiet_NaN(), true};
}

Limit<int16_t> short_limit(float t, bool below) {
  constexpr float least = std::numeric_limits<int16_t>::min(), most = std::numeric_limits<int16_t>::max();
  const float from = below ? std::floor(t) + 1 : std::ceil(t);  // integers x >= from, or all others
  if (from <= most) return {static_cast<int16_t>(std::max(from, least)), below};
  return {std::numeric_limits<int16_t>::min(), !below || std::isnan(t)};  // no x is >= from: always, flipped
}

}  // namespace

Packer::Packer(const Input& input, const std::vector<Slice>& in, const float* threshold)
    : input_(input), floats_(input.channels), shorts_(input.channels) {
  int64_t first = 0;
  for (const Slice& source : in) {
    add_pieces(source, first, threshold);
    first += source.channels;
  }
}

// Pieces that do not begin with a half word are kept short, so that they fit the memory in which they are shifted.
void Packer::add_pieces(const Slice& source, int64_t first, const float* threshold) {
  for (int64_t c = 0; c < source.channels;) {
    Piece piece;
    piece.source = source;
    piece.channel = c;
    piece.group = (first + c) / input_.group_channels();
    piece.bit = (first + c) % input_.group_channels();
    piece.channels = std::min(source.channels - c, input_.group_channels() - piece.bit);
    if (piece.bit % kHalf) piece.channels = std::min(piece.channels, kShiftedChannels);
    piece.first = first + c;
    piece.flip = static_cast<int64_t>(flip_.size());
    flip_.resize(flip_.size() + (piece.channels + kHalf - 1) / kHalf);
    for (int64_t i = 0; threshold && i < piece.channels; ++i) add_threshold(piece, i, threshold);
    pieces_.push_back(piece);
    c += piece.channels;
  }
}

void Packer::add_threshold(const Piece& piece, int64_t c, const float* threshold) {
  const float t = threshold[piece.first + c];
  const bool below = threshold[input_.channels + piece.first + c] < 0;
  bool flip;
  if (piece.source.layout == Layout::kShorts) {
    const Limit<int16_t> limit = short_limit(t, below);
    shorts_[piece.first + c] = limit.threshold;
    flip = limit.flip;
  } else {
    const Limit<float> limit = float_limit(t, below);
    floats_[piece.first + c] = limit.threshold;
    flip = limit.flip;
  }
  flip_[piece.flip + c / kHalf] |= uint32_t{flip} << c % kHalf;
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

void Packer::binarize(const Piece& piece, int64_t image, int64_t pixel, int64_t pixels, uint32_t* halves,
                      int64_t stride) const {
  const Kernel& kernel = current_kernel();
  const char* data = piece.source.at(image, piece.channel, pixel);
  const int64_t channel_stride = piece.source.channel_stride(), pixel_stride = piece.source.pixel_stride();
  const uint32_t* flip = flip_.data() + piece.flip;
  if (piece.source.layout == Layout::kShorts) {
    kernel.binarize_shorts({reinterpret_cast<const int16_t*>(data), channel_stride, pixel_stride, piece.channels,
                            pixels, shorts_.data() + piece.first, flip, halves, stride});
  } else {
    kernel.binarize_floats({reinterpret_cast<const float*>(data), channel_stride, pixel_stride, piece.channels,
                            pixels, floats_.data() + piece.first, flip, halves, stride});
  }
}

// `halves`: the pixels' words of the piece's group. Pieces come in order: what precedes this one in its first half is
// there already, what follows its last bit in the last one is 0.
void Packer::pack(const Piece& piece, int64_t image, int64_t pixel, int64_t pixels, uint32_t* halves) const {
  const int64_t stride = 2 * words_for(input_.group_channels()), shift = piece.bit % kHalf;
  halves += piece.bit / kHalf;
  if (shift == 0) return binarize(piece, image, pixel, pixels, halves, stride);
  uint32_t unshifted[kPixels * kShiftedHalves];
  binarize(piece, image, pixel, pixels, unshifted, kShiftedHalves);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0, h = 0; c < piece.channels; c += kHalf, ++h) {
      const uint32_t bits = unshifted[p * kShiftedHalves + h];
      halves[p * stride + h] |= bits << shift;
      if (piece.channels - c > kHalf - shift) halves[p * stride + h + 1] = bits >> (kHalf - shift);
    }
  }
}

void Packer::run(int64_t image, uint64_t* words) const {
  const Stopwatch stopwatch(Phase::kPack);
  const int64_t depth = words_for(input_.group_channels()), halves = (input_.group_channels() + kHalf - 1) / kHalf;
  const Size padded = input_.padded();
  // without padding at their sides, rows are one
  const int64_t row = input_.pad.width ? input_.image.width : input_.image.pixels();
  const int64_t runs = (row + kPixels - 1) / kPixels, tasks = input_.image.pixels() / row * runs;
#pragma omp for schedule(static) nowait
  for (int64_t group = 0; group < input_.groups; ++group) fill_padding(words + group * input_.group_words());
#pragma omp for schedule(static)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t y = task / runs, x = task % runs * kPixels, pixels = std::min(kPixels, row - x);
    uint64_t* to = words + ((y + input_.pad.height) * padded.width + input_.pad.width + x) * depth;
    for (const Piece& piece : pieces_) {
      pack(piece, image, y * row + x, pixels, reinterpret_cast<uint32_t*>(to + piece.group * input_.group_words()));
    }
    if (halves % 2 == 0) continue;
    for (int64_t group = 0; group < input_.groups; ++group) {
      uint32_t* last = reinterpret_cast<uint32_t*>(to + group * input_.group_words()) + halves;
      for (int64_t p = 0; p < pixels; ++p) last[p * 2 * depth] = 0;
    }
  }
}

void unpack_weights(const uint8_t* weight, int64_t filters, int64_t taps, int64_t channels, uint64_t* words) {
  const int64_t depth = words_for(channels), bytes = (channels + 7) / 8;
  for (int64_t tap = 0; tap < filters * taps; ++tap) {
    words[tap * depth + depth - 1] = 0;
    std::memcpy(words + tap * depth, weight + tap * bytes, bytes);  // both least significant bit first
  }
}

}  // namespace bmx
