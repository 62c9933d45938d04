#include "map.h"

#include <algorithm>
#include <limits>

#include "profile.h"
#include "team.h"

namespace bmx {
namespace {

constexpr int64_t kPixels = 64;  // output pixels of a block computed at once

// Input pixels of a row that `pixels` adjacent outputs need.
int64_t span(const Map& map, int64_t pixels) {
  return std::min(map.image.width, (pixels - 1) * map.window.stride.width + map.window.size.width);
}

// Rows or columns from `begin` on that count in a window of `length` of them, where the image has `size`, and `pad` at
// both ends.
int64_t counted(int64_t begin, int64_t length, int64_t size, int64_t pad) {
  return std::max<int64_t>(0, std::min(size + pad, begin + length) - std::max(-pad, begin));
}

// Makes sums averages; the first window begins at row `top` and column `left`. One that has no pixels has the average
// 0, as in MXNet.
void divide_by_counts(const Map& map, int64_t top, int64_t left, const Tile& tile) {
  const Window& window = map.window;
  const Size pad = map.count_pad ? window.pad : Size{0, 0};
  const int64_t rows = counted(top, window.size.height, map.image.height, pad.height);
  for (int64_t p = 0; p < tile.pixels; ++p, left += window.stride.width) {
    const int64_t columns = counted(left, window.size.width, map.image.width, pad.width);
    const int64_t count = std::max<int64_t>(1, rows * columns);
    float* sums = tile.values + p * tile.stride;
    if (count & (count - 1)) {
      for (int64_t c = 0; c < kLanes; ++c) sums[c] /= static_cast<float>(count);
    } else {  // of a power of two the inverse is exact
      for (int64_t c = 0; c < kLanes; ++c) sums[c] *= 1.0f / static_cast<float>(count);
    }
  }
}

}  // namespace

int64_t Map::thread_bytes() const {
  if (pool == Pool::kNone) return 0;
  return span(*this, std::min(kPixels, out().width)) * kLanes * static_cast<int64_t>(sizeof(float));
}

MapTask::MapTask(const Map& map, const Binding& binding)
    : map_(map), kernel_(binding.kernel), before_(binding.before), steps_(binding.steps), threads_(binding.threads) {
  const Slice& out = binding.out;
  const int64_t group = out.channels / map.groups;  // channels of a group
  int64_t first = 0;
  for (const Slice& source : binding.in) {
    for (int64_t c = 0, count; c < source.channels; c += count) {
      const int64_t channel = first + c;
      count = std::min({kLanes, source.channels - c, group - channel % group});
      Slice to = out;
      to.data = out.at(0, channel % group * map.groups + channel / group, 0);
      if (out.layout == Layout::kPlanar) to.stride *= map.groups;
      blocks_.push_back({source, c, count, channel, to});
    }
    first += source.channels;
  }
}

void MapTask::run(int64_t image) const {
  const Stopwatch stopwatch(Phase::kMapping);
  // pooling works row by row
  const bool pooled = map_.pool != Pool::kNone;
  const int64_t row = pooled ? map_.out().width : map_.out().pixels();
  const int64_t runs = ceil_div(row, kPixels), rows = map_.out().pixels() / row;
  const int64_t blocks = static_cast<int64_t>(blocks_.size()), places = rows * runs;
  // as the values lie in memory: plane by plane, or all channels of a pixel
  const bool planes = blocks_[0].source.layout == Layout::kPlanar;
  split(blocks * places, [&](int64_t task) {
    const Block& block = blocks_[planes ? task / places : task % blocks];
    const int64_t place = planes ? task % places : task / blocks;
    const int64_t x = place % runs * kPixels, pixels = std::min(kPixels, row - x);
    const int64_t pixel = place / runs * row + x;
    pooled ? pool(block, image, pixel, pixels) : transform(block, image, pixel, pixels);
  });
  meet();
}

// Steps and destinations count channels of the output, a block those of its source.
void MapTask::load_block(const Block& block, const Tile& tile) const {
  Tile source = tile;
  source.channel = block.channel;
  load(kernel_, block.source, source);
}

void MapTask::store_block(const Tile& tile, const Block& block) const {
  Tile source = tile;
  source.channel = 0;
  store(kernel_, source, block.out);
}

void MapTask::transform(const Block& block, int64_t image, int64_t pixel, int64_t pixels) const {
  alignas(64) float values[kPixels * kLanes];
  const Tile tile = {values, kLanes, image, block.out_channel, pixel, block.channels, pixels};
  load_block(block, tile);
  apply(kernel_, steps_, tile);
  store_block(tile, block);
}

void MapTask::pool(const Block& block, int64_t image, int64_t pixel, int64_t pixels) const {
  alignas(64) float values[kPixels * kLanes];
  const bool average = map_.pool == Pool::kAverage;
  std::fill(values, values + pixels * kLanes, average ? 0 : std::numeric_limits<float>::lowest());
  const Tile tile = {values, kLanes, image, block.out_channel, pixel, block.channels, pixels};
  const Window& window = map_.window;
  const int64_t top = pixel / map_.out().width * window.stride.height - window.pad.height;
  const int64_t left = pixel % map_.out().width * window.stride.width - window.pad.width;
  const int64_t begin = std::max<int64_t>(0, left);
  const int64_t end = std::min(map_.image.width, left + (pixels - 1) * window.stride.width + window.size.width);
  const bool in_place = block.source.layout == Layout::kFloats && block.channels == kLanes && before_.empty();
  float* inputs = reinterpret_cast<float*>(threads_ + member() * map_.thread_bytes());
  const int64_t first = std::max<int64_t>(0, top), last = std::min(map_.image.height, top + window.size.height);
  for (int64_t y = first; y < last; ++y) {
    Tile input = {inputs, kLanes, image, block.out_channel, y * map_.image.width + begin, block.channels, end - begin};
    if (in_place) {
      input.values = reinterpret_cast<float*>(block.source.at(image, block.channel, input.pixel));
      input.stride = block.source.stride;
    } else {
      load_block(block, input);
      apply(kernel_, before_, input);
    }
    gather(kernel_, map_.pool, input, begin - left, window.size.width, window.stride.width, tile);
  }
  if (average) divide_by_counts(map_, top, left, tile);
  apply(kernel_, steps_, tile);
  store_block(tile, block);
}

}  // namespace bmx
