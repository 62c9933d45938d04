#include "grouped.h"

#include <algorithm>

#include "profile.h"
#include "team.h"

namespace bmx {
namespace {

constexpr int64_t kNibble = 4;

// Positions are padded pixels, some of which are the outputs. Without a vertical stride all rows are one run of them,
// else each is its own.
int64_t runs(const Convolution& conv) { return conv.window.stride.height == 1 ? 1 : conv.out().height; }

int64_t run_tiles(const Convolution& conv) {
  const int64_t row = (conv.out().width - 1) * conv.window.stride.width + 1;
  const int64_t rows_before = conv.window.stride.height == 1 ? conv.out().height - 1 : 0;
  return ceil_div(rows_before * conv.input().padded().width + row, kPositions);
}

// The packed words of an image, and what Spread reads beyond them.
int64_t word_bytes(const Convolution& conv) {
  return round_up(conv.input().padded().pixels(), kPositions) * words_for(conv.channels) * 8 +
         kSpreadReach * words_for(conv.channels) * 8;
}

}  // namespace

LookupPlan::LookupPlan(const Convolution& conv) {
  const int64_t channels = conv.group_channels(), step = conv.window.dilate.width;
  const int64_t most = channels < 3 ? std::min(kNibble / channels, conv.window.size.width) : 1;
  taps = (most - 1) * step > kSpreadReach ? 1 : most;
  columns = ceil_div(conv.window.size.width, taps);
  nibbles = ceil_div(channels, kNibble);
  lookups = conv.window.size.height * columns * nibbles;
  field_channels = channels < 3 ? channels : channels % kNibble ? 0 : kNibble;
  rows = field_channels ? round_up(conv.channels, 8) / field_channels : conv.groups * nibbles;
  stride = round_up(conv.input().padded().pixels(), kPositions);
}

// Compares the numbers of table look-ups, 32 bytes each, that the kernel for AVX2 does either way.
bool has_small_groups(const Convolution& conv, const Kernel& kernel) {
  const int64_t bits = conv.group_channels() * conv.window.taps();
  if (conv.interleaved || conv.is_scaled() || conv.zero_one) return false;
  if (conv.group_channels() > kWordBits || bits > kMaxLookupBits) return false;
  constexpr int64_t kVector = 32;
  const double vectors = static_cast<double>(runs(conv)) * run_tiles(conv) * (kPositions / kVector);
  const double grouped = vectors * conv.filters * LookupPlan(conv).lookups;
  const double blocks = static_cast<double>(conv.groups) * ceil_div(conv.group_filters(), kVector);
  const double words = blocks * conv.out().pixels() * conv.depth() * (kWordBits / kNibble);
  return kernel.lookup_cost * grouped <= words;
}

Memory grouped_memory(const Convolution& conv, const Kernel&) {
  const LookupPlan plan(conv);
  // the last look-ups reach beyond the last row
  return {word_bytes(conv) + plan.rows * plan.stride + kPositions,
          conv.filters * plan.lookups * static_cast<int64_t>(sizeof(uint16_t)), 0};
}

struct GroupedConvolutionTask::Unit {
  int64_t image, group, groups, filter, filters;  // filter: the first, within each group
  int64_t run, tile;

  int64_t all_filters() const { return groups * filters; }
};

GroupedConvolutionTask::GroupedConvolutionTask(const Convolution& conv, const Binding& binding)
    : conv_(conv),
      plan_(conv),
      kernel_(binding.kernel),
      packer_({conv.image, conv.window.pad, conv.channels, 1, conv.pad_value}, binding.in,
              binding.parameter<float>(conv.threshold), binding.kernel),
      weight_(binding.parameter<uint8_t>(0)),
      steps_(binding.steps),
      out_(binding.out),
      words_(reinterpret_cast<uint64_t*>(binding.shared)),
      indices_(reinterpret_cast<uint8_t*>(binding.shared + word_bytes(conv))),
      entries_(reinterpret_cast<uint16_t*>(binding.kept)),
      sums_(padding_sums(conv, weight_)) {
  const Size window = conv.window.size;
  const int64_t channels = conv.group_channels(), bytes = packed_bytes(channels);
  for (int64_t y = 0; y < window.height; ++y) {
    for (int64_t x = 0; x < window.width; x += plan_.taps) {
      const int64_t pixel = y * conv.window.dilate.height * conv.input().padded().width + x * conv.window.dilate.width;
      for (int64_t i = 0; i < plan_.nibbles; ++i) {
        offsets_.push_back(i * plan_.stride + pixel);
        const int bits = static_cast<int>(std::min(kNibble, channels - i * kNibble));
        sources_.push_back({(y * window.width + x) * bytes + i / 2, std::min(plan_.taps, window.width - x), bits,
                            static_cast<int>(i % 2 * kNibble), (1 << bits) - 1});
      }
    }
  }
}

// A filter's weights for a look-up, of which only bytes of the window's row and bits of the group count.
uint16_t GroupedConvolutionTask::entry(const Source& source, const uint8_t* filter) const {
  int weights = 0, mask = 0;
  const uint8_t* from = filter + source.byte;
  for (int64_t tap = 0; tap < source.taps; ++tap, ++from) {  // several only where a tap has one byte
    weights |= (*from >> source.shift & source.used) << tap * source.bits;
    mask |= source.used << tap * source.bits;
  }
  return static_cast<uint16_t>(lookup_entry(weights, mask));
}

void GroupedConvolutionTask::prepare_weights() const {
  const Stopwatch stopwatch(Phase::kPacking);
  const int64_t lookups = plan_.lookups;
  const bool whole_bytes = conv_.group_channels() % 8 == 0;
  split(conv_.filters, [&](int64_t filter) {
    uint16_t* to = entries_ + filter * lookups;
    if (whole_bytes) {
      const uint8_t* from = weight_ + filter * lookups / 2;
      for (int64_t i = 0; i < lookups / 2; ++i) {
        to[2 * i] = static_cast<uint16_t>(lookup_entry(from[i] & 15, 15));
        to[2 * i + 1] = static_cast<uint16_t>(lookup_entry(from[i] >> 4, 15));
      }
    } else {
      const uint8_t* from = weight_ + filter * conv_.window.taps() * packed_bytes(conv_.group_channels());
      for (int64_t k = 0; k < lookups; ++k) to[k] = entry(sources_[k], from);
    }
  });
}

// Row `row` of the indices where these do not begin with a field: bits from anywhere in the words.
void GroupedConvolutionTask::spread_row(int64_t row, int64_t begin, int64_t end) const {
  const int64_t depth = words_for(conv_.channels);
  const int64_t channel = row / plan_.nibbles * conv_.group_channels() + row % plan_.nibbles * kNibble;
  const int64_t shift = channel % kWordBits;
  const bool two_words = shift > kWordBits - kNibble && channel / kWordBits + 1 < depth;
  const uint64_t* words = words_ + channel / kWordBits;
  uint8_t* to = indices_ + row * plan_.stride;
  for (int64_t p = begin; p < end; ++p) {
    uint64_t bits = words[p * depth] >> shift;
    if (two_words) bits |= words[p * depth + 1] << (kWordBits - shift);
    to[p] = bits & 15;
  }
}

void GroupedConvolutionTask::spread_words() const {
  const Stopwatch stopwatch(Phase::kPacking);
  const int64_t depth = words_for(conv_.channels), chunks = ceil_div(plan_.stride, kSpreadPixels);
  const int64_t tasks = plan_.field_channels ? depth : plan_.rows;
  split(tasks * chunks, [&](int64_t i) {
    const int64_t task = i / chunks, begin = i % chunks * kSpreadPixels;
    const int64_t end = std::min(begin + kSpreadPixels, plan_.stride);
    if (!plan_.field_channels) return spread_row(task, begin, end);
    Spread spread;
    spread.words = words_ + begin * depth + task;
    spread.pixel_stride = depth;
    spread.channels = std::min(kWordBits, conv_.channels - task * kWordBits);
    spread.field_channels = plan_.field_channels;
    spread.taps = plan_.taps;
    spread.step = conv_.window.dilate.width;
    spread.pixels = end - begin;
    spread.out = indices_ + task * (kWordBits / plan_.field_channels) * plan_.stride + begin;
    spread.out_stride = plan_.stride;
    kernel_.spread(spread);
  });
  meet();
}

void GroupedConvolutionTask::run(int64_t image) const {
  if (image == 0) prepare_weights();
  packer_.run(image, words_);
  spread_words();
  const int64_t group_filters = conv_.group_filters(), group_blocks = ceil_div(group_filters, kFilterTile);
  const int64_t groups = std::max<int64_t>(1, kFilterTile / group_filters);
  const int64_t tiles = run_tiles(conv_), all_tiles = runs(conv_) * tiles;
  deal(ceil_div(conv_.groups, groups) * group_blocks * all_tiles, [&](int64_t task) {
    const int64_t block = task / all_tiles;
    Unit unit;
    unit.image = image;
    unit.group = block / group_blocks * groups;
    unit.groups = std::min(groups, conv_.groups - unit.group);
    unit.filter = block % group_blocks * kFilterTile;
    unit.filters = std::min(kFilterTile, group_filters - unit.filter);
    unit.run = task % all_tiles / tiles;
    unit.tile = task % tiles;
    compute(unit);
  });
}

void GroupedConvolutionTask::compute(const Unit& unit) const {
  alignas(64) int16_t tile[kFilterTile * kPositions + 8];  // what is transposed reaches beyond the last row
  const std::vector<RowPiece> rows = pieces(unit);
  if (rows.empty()) return;
  const int64_t group_rows = plan_.field_channels && conv_.group_channels() < kNibble ? 1 : plan_.nibbles;
  Lookups lookups;
  lookups.indices = indices_ + unit.group * group_rows * plan_.stride + unit.tile * kPositions +
                    unit.run * conv_.window.stride.height * conv_.input().padded().width;
  lookups.group_stride = group_rows * plan_.stride;
  lookups.offsets = offsets_.data();
  lookups.entries = entries_ + (unit.group * conv_.group_filters() + unit.filter) * plan_.lookups;
  lookups.count = plan_.lookups;
  lookups.groups = unit.groups;
  lookups.filters = unit.filters;
  lookups.bits = conv_.group_channels() * conv_.window.taps();
  lookups.out = tile;
  {
    const Stopwatch stopwatch(Phase::kGemm);
    kernel_.look_up(lookups);
  }
  const Stopwatch stopwatch(Phase::kEpilogue);
  finish_tile(unit, rows, tile);
}

// The outputs among a unit's positions.
std::vector<RowPiece> GroupedConvolutionTask::pieces(const Unit& unit) const {
  const int64_t width = conv_.input().padded().width, step = conv_.window.stride.width;
  const Size out = conv_.out();
  std::vector<RowPiece> pieces;
  for (int64_t at = 0; at < kPositions;) {
    const int64_t position = unit.tile * kPositions + at, line = position / width, begin = position % width;
    if (unit.run + line >= out.height || (line > 0 && runs(conv_) > 1)) break;
    const int64_t end = std::min(width, begin + kPositions - at);
    const int64_t first = ceil_div(begin, step), last = std::min(out.width, ceil_div(end, step));
    if (first < last) {
      pieces.push_back({at + first * step - begin, (unit.run + line) * out.width + first, last - first});
    }
    at += end - begin;
  }
  return pieces;
}

void GroupedConvolutionTask::finish_tile(const Unit& unit, std::vector<RowPiece> pieces, int16_t* tile) const {
  const int64_t filters = unit.all_filters(), first = unit.group * conv_.group_filters() + unit.filter;
  const int64_t step = conv_.window.stride.width;
  int64_t pixels = 0;
  for (const RowPiece& piece : pieces) pixels += piece.pixels;
  if (step > 1) {
    for (int64_t f = 0; f < filters; ++f) {
      int16_t* to = tile + f * kPositions;
      for (const RowPiece& piece : pieces) {
        for (int64_t p = 0; p < piece.pixels; ++p) *to++ = tile[f * kPositions + piece.from + p * step];
      }
    }
    pieces = {{0, pieces[0].pixel, pixels}};
  }
  if (out_.layout == Layout::kPlanar && steps_.empty() && sums_.empty()) {
    float* planes = reinterpret_cast<float*>(out_.at(unit.image, first, 0));
    return store_rows(kernel_, tile, kPositions, filters, pieces, planes, out_.stride);
  }
  alignas(64) int32_t dots[(kPositions + 8) * kFilterTile];  // what is transposed reaches beyond the last pixel
  for (const RowPiece& piece : pieces) {
    kernel_.elementwise.transpose_shorts(tile + piece.from, kPositions, filters, piece.pixels,
                                         dots + (piece.pixel - pieces[0].pixel) * kFilterTile, kFilterTile);
  }
  for (int64_t p = 0; p < pixels; p += kPixelTile) {
    const Dots part = {dots + p * kFilterTile,          kFilterTile, unit.image, first, pieces[0].pixel + p, filters,
                       std::min(kPixelTile, pixels - p)};
    if (!sums_.empty()) discount_padding(conv_, sums_, 0, part);
    finish(kernel_, part, steps_, out_);
  }
}

}  // namespace bmx
