#include "float_convolution.h"

#include <algorithm>

#include "profile.h"
#include "team.h"

namespace bmx {
namespace {

constexpr int64_t kLeastOutputs = 48, kMostOutputs = 480;  // of a rectangle in one plane; of many rows, of a piece
constexpr int64_t kLeastPiece = 96;
constexpr int64_t kStripBytes = 192 << 10;  // with more than the least: stays in L2
constexpr int64_t kFewPixels = 64;          // below this vectors of filters are fuller than vectors of pixels
constexpr int64_t kBlocksAtOnce = 6;        // of vectors of filters
constexpr int64_t kFloat = sizeof(float);

int64_t within(int64_t value, int64_t most) { return std::max<int64_t>(0, std::min(value, most)); }

// Pixels of a window of one pixel are adjacent, whatever the image.
FloatConvolution simplified(FloatConvolution conv) {
  const Window& window = conv.window;
  if (window.taps() == 1 && window.stride.pixels() == 1 && window.pad == Size{0, 0}) {
    conv.image = {1, conv.image.pixels()};
  }
  return conv;
}

// Where the taps of a window begin within a stride. They repeat: tap i has that of i % their number.
std::vector<int64_t> phases(int64_t taps, int64_t stride, int64_t dilate) {
  std::vector<int64_t> found = {0};
  for (int64_t tap = 1; tap < taps && tap * dilate % stride; ++tap) found.push_back(tap * dilate % stride);
  return found;
}

// Columns of padding that every plane with rows of `columns` has at both ends.
int64_t common_padding(const FloatConvolution& conv, const std::vector<int64_t>& phases, int64_t columns) {
  const int64_t pad = conv.window.pad.width, stride = conv.window.stride.width;
  int64_t common = columns;
  for (int64_t phase : phases) {
    const int64_t left = pad > phase ? ceil_div(pad - phase, stride) : 0;
    const int64_t right = columns - ceil_div(pad + conv.image.width - phase, stride);
    common = std::min({common, left, std::max<int64_t>(0, right)});
  }
  return common;
}

bool has_few_pixels(const FloatConvolution& conv) {
  return conv.lanes() == kFloatLanes && conv.out().pixels() < kFewPixels;
}

// Values that a row of up to kLanes channels takes while it is read.
int64_t row_values(const FloatConvolution& conv, const Strip& strip) {
  return kLanes * std::min(conv.image.width, (strip.columns + strip.reach.width) * conv.window.stride.width);
}

int64_t sums(const FloatConvolution& conv, const Strip& strip) {
  const int64_t outputs = round_up(strip.outputs(strip.piece_rows, strip.columns), kFloatLanes);
  return outputs * (has_few_pixels(conv) ? kBlocksAtOnce * kFloatLanes : conv.lanes());
}

}  // namespace

int64_t FloatConvolution::thread_bytes() const {
  const FloatConvolution conv = simplified(*this);
  const Strip strip(conv);
  return round_up(strip.values * kFloat, 64) + round_up(sums(conv, strip) * kFloat, 64) +
         round_up(row_values(conv, strip) * kFloat, 64);
}

Strip::Strip(const FloatConvolution& conv) {
  const Window& window = conv.window;
  const Size out = conv.out();
  row_phases = phases(window.size.height, window.stride.height, window.dilate.height);
  column_phases = phases(window.size.width, window.stride.width, window.dilate.width);
  reach = {(window.reach().height - 1) / window.stride.height, (window.reach().width - 1) / window.stride.width};
  rows = 1;
  const auto fits = [&] { return values * kFloat <= kStripBytes; };
  for (int64_t parts = ceil_div(out.width, kMostOutputs);; ++parts) {
    columns = std::min(out.width, round_up(ceil_div(out.width, parts), kFloatLanes));
    set_planes(conv);
    if (columns <= kLeastOutputs || fits()) break;
  }
  while (rows < out.height) {
    const bool few = outputs(rows, columns) < kLeastOutputs;
    ++rows;
    set_planes(conv);
    if (few || fits()) continue;
    --rows;
    break;
  }
  rows = ceil_div(out.height, ceil_div(out.height, rows));
  set_planes(conv);
  piece_rows = has_few_pixels(conv) ? rows : best_piece();
}

// Of pieces that are finished before their results, and those of the steps, leave the cache, the one that fills its
// vectors best.
int64_t Strip::best_piece() const {
  const auto vectors = [&](int64_t of_rows) { return ceil_div(outputs(of_rows, columns), kFloatLanes); };
  int64_t best = 1;
  for (int64_t of_rows = 2; of_rows <= rows && outputs(of_rows, columns) <= kMostOutputs; ++of_rows) {
    const bool few = outputs(best, columns) < kLeastPiece;
    if (few || vectors(of_rows) * best < vectors(best) * of_rows) best = of_rows;
  }
  return best;
}

void Strip::set_planes(const FloatConvolution& conv) {
  const int64_t width = columns + reach.width;
  const int64_t shared =
      columns == conv.out().width ? std::min(common_padding(conv, column_phases, width), reach.width) : 0;
  pitch = width - shared;
  plane = (rows + reach.height) * pitch + shared;
  channel = static_cast<int64_t>(row_phases.size() * column_phases.size()) * plane;
  values = conv.group_channels() * channel + kFloatLanes;  // the last vector may reach beyond
}

std::vector<int64_t> Strip::offsets(const FloatConvolution& conv) const {
  const Window& window = conv.window;
  const int64_t row_count = static_cast<int64_t>(row_phases.size());
  const int64_t column_count = static_cast<int64_t>(column_phases.size());
  std::vector<int64_t> offsets;
  offsets.reserve(conv.depth());
  for (int64_t c = 0; c < conv.group_channels(); ++c) {
    for (int64_t tap = 0; tap < window.taps(); ++tap) {
      const int64_t i = tap / window.size.width, j = tap % window.size.width;
      offsets.push_back(c * channel + (i % row_count * column_count + j % column_count) * plane +
                        i * window.dilate.height / window.stride.height * pitch +
                        j * window.dilate.width / window.stride.width);
    }
  }
  return offsets;
}

struct FloatConvolutionTask::Unit {
  int64_t image, group, block, blocks;  // of filters, within the group
  int64_t row, rows, column, columns;   // of the output
};

// The values [first, last) of a row of one phase are in the image, at x and every `stride` pixels; the others are
// padding.
struct FloatConvolutionTask::Span {
  int64_t x, first, last;
};

FloatConvolutionTask::FloatConvolutionTask(const FloatConvolution& conv, const Binding& binding)
    : conv_(simplified(conv)),
      strip_(conv_),
      few_pixels_(has_few_pixels(conv_)),
      in_(binding.in),
      before_(binding.before),
      steps_(binding.steps),
      weight_(binding.parameter<float>(0)),
      out_(binding.out),
      kernel_(binding.kernel),
      threads_(binding.threads),
      thread_bytes_(conv.thread_bytes()),
      inputs_(strip_.offsets(conv_)) {
  weights_.reserve(conv.depth());
  for (int64_t k = 0; k < conv.depth(); ++k) weights_.push_back(k * conv.lanes());
}

void FloatConvolutionTask::run(int64_t image) const {
  const Size out = conv_.out();
  const int64_t threads = members(), all_blocks = conv_.blocks();
  // at least as many units as threads, and about a multiple of them
  int64_t rows = ceil_div(out.height, strip_.rows), columns = ceil_div(out.width, strip_.columns);
  const int64_t wanted = round_up(rows * columns * conv_.groups, threads);
  rows = std::min(out.height, ceil_div(wanted, columns * conv_.groups));
  const int64_t unit_rows = ceil_div(out.height, rows);
  rows = ceil_div(out.height, unit_rows);
  if (out.height == 1) columns = std::max(columns, std::min(ceil_div(out.width, kFloatLanes), wanted / conv_.groups));
  const int64_t unit_columns = std::min(strip_.columns, round_up(ceil_div(out.width, columns), kFloatLanes));
  columns = ceil_div(out.width, unit_columns);
  const int64_t rectangles = rows * columns * conv_.groups;
  const int64_t unit_blocks = ceil_div(all_blocks, rectangles < threads ? ceil_div(threads, rectangles) : 1);
  const int64_t parts = ceil_div(all_blocks, unit_blocks);
  deal(rectangles * parts, [&](int64_t task) {
    const int64_t rectangle = task / parts;
    Unit unit;
    unit.image = image;
    unit.block = task % parts * unit_blocks;
    unit.blocks = std::min(unit_blocks, all_blocks - unit.block);
    unit.group = rectangle % conv_.groups;
    unit.column = rectangle / conv_.groups % columns * unit_columns;
    unit.columns = std::min(unit_columns, out.width - unit.column);
    unit.row = rectangle / conv_.groups / columns * unit_rows;
    unit.rows = std::min(unit_rows, out.height - unit.row);
    compute(unit);
  });
}

void FloatConvolutionTask::compute(const Unit& unit) const {
  float* strip = reinterpret_cast<float*>(threads_ + member() * thread_bytes_);
  float* sums_begin = strip + round_up(strip_.values, kFloatLanes);
  {
    const Stopwatch stopwatch(Phase::kPacking);
    read(unit, strip, sums_begin + round_up(sums(conv_, strip_), kFloatLanes));
  }
  few_pixels_ ? multiply_filters(unit, strip, sums_begin) : multiply_pixels(unit, strip, sums_begin);
}

// Fills the strip with the channels of the group.
void FloatConvolutionTask::read(const Unit& unit, float* strip, float* buffer) const {
  const int64_t begin = unit.group * conv_.group_channels(), end = begin + conv_.group_channels();
  const std::vector<Span> column_spans = spans(unit);
  int64_t channel = 0;  // of the input
  for (const Slice& source : in_) {
    const int64_t first = std::max(begin, channel), last = std::min(end, channel + source.channels);
    const bool as_it_is = source.layout == Layout::kPlanar && before_.empty();
    for (int64_t c = first, count; c < last; c += count) {
      count = as_it_is ? last - c : std::min(kLanes, last - c);
      Slice part = source;
      part.data = source.at(0, c - channel, 0);
      part.channels = count;
      read_source(unit, column_spans, part, c, strip + (c - begin) * strip_.channel, buffer);
    }
    channel += source.channels;
  }
}

// Of every column phase.
std::vector<FloatConvolutionTask::Span> FloatConvolutionTask::spans(const Unit& unit) const {
  const int64_t stride = conv_.window.stride.width, width = unit.columns + strip_.reach.width;
  std::vector<Span> spans;
  for (int64_t phase : strip_.column_phases) {
    const int64_t x = unit.column * stride + phase - conv_.window.pad.width;
    const int64_t first = x < 0 ? std::min(width, ceil_div(-x, stride)) : 0;
    const int64_t last = x < conv_.image.width ? std::min(width, ceil_div(conv_.image.width - x, stride)) : 0;
    spans.push_back({x + first * stride, first, std::max(first, last)});
  }
  return spans;
}

// `channel`: the source's first, of the input. `buffer`: memory for rows that are not read as they are.
void FloatConvolutionTask::read_source(const Unit& unit, const std::vector<Span>& spans, const Slice& source,
                                       int64_t channel, float* strip, float* buffer) const {
  const Size image = conv_.image, stride = conv_.window.stride, pad = conv_.window.pad;
  const int64_t width = unit.columns + strip_.reach.width, left = unit.column * stride.width - pad.width;
  const int64_t begin = within(left, image.width), end = within(left + width * stride.width, image.width);
  const bool as_it_is = source.layout == Layout::kPlanar && before_.empty();
  for (int64_t row_phase : strip_.row_phases) {
    for (int64_t row = 0; row < unit.rows + strip_.reach.height; ++row) {
      const int64_t y = (unit.row + row) * stride.height + row_phase - pad.height;
      const bool inside = y >= 0 && y < image.height && begin < end;
      Planes line = {buffer, end - begin,     0, unit.image, 0, y * image.width + begin,
                     0,      source.channels, 1, end - begin};
      if (inside && as_it_is) {
        line.values = reinterpret_cast<float*>(source.at(unit.image, 0, line.pixel));
        line.stride = source.stride;
      } else if (inside) {
        load(kernel_, source, line);
        line.channel = channel;
        apply(kernel_, before_, line);
      }
      float* plane = strip + row * strip_.pitch;
      for (const Span& span : spans) {
        const int64_t first = inside ? span.first : width, last = inside ? span.last : width;
        const float* from = line.values + span.x - begin;
        float* to = plane;
        for (int64_t c = 0; c < source.channels; ++c, from += line.stride, to += strip_.channel) {
          std::fill(to, to + first, 0.0f);
          if (first < last) kernel_.elementwise.copy_every(from, stride.width, last - first, to + first);
          std::fill(to + last, to + width, 0.0f);
        }
        plane += strip_.plane;
      }
    }
    strip += static_cast<int64_t>(spans.size()) * strip_.plane;
  }
}

void FloatConvolutionTask::multiply_pixels(const Unit& unit, const float* strip, float* sums) const {
  const int64_t lanes = conv_.lanes(), width = conv_.out().width;
  FloatProduct product;
  product.row_offsets = weights_.data();
  product.column_offsets = inputs_.data();
  product.block_stride = kFloatLanes;
  product.depth = conv_.depth();
  product.out = sums;
  for (int64_t row = 0, rows; row < unit.rows; row += rows) {
    rows = std::min(strip_.piece_rows, unit.rows - row);
    product.columns = strip + row * strip_.pitch;
    product.column_count = round_up(strip_.outputs(rows, unit.columns), kFloatLanes);
    product.out_stride = product.column_count;
    for (int64_t block = unit.block; block < unit.block + unit.blocks; ++block) {
      product.rows = weight_ + (unit.group * conv_.blocks() + block) * conv_.depth() * lanes;
      product.row_count = std::min(lanes, conv_.group_filters() - block * lanes);
      {
        const Stopwatch stopwatch(Phase::kGemm);
        kernel_.multiply_floats(product);
      }
      const Stopwatch stopwatch(Phase::kEpilogue);
      const Planes planes = {sums,
                             product.out_stride,
                             strip_.pitch,
                             unit.image,
                             unit.group * conv_.group_filters() + block * lanes,
                             (unit.row + row) * width + unit.column,
                             width,
                             product.row_count,
                             rows,
                             unit.columns};
      apply(kernel_, steps_, planes);
      store(kernel_, planes, out_);
    }
  }
}

void FloatConvolutionTask::multiply_filters(const Unit& unit, const float* strip, float* sums) const {
  const int64_t width = conv_.out().width, block_values = conv_.depth() * kFloatLanes;
  FloatProduct product;
  product.rows = strip;
  product.row_offsets = inputs_.data();
  product.row_count = strip_.outputs(unit.rows, unit.columns);
  product.column_offsets = weights_.data();
  product.block_stride = block_values;
  product.depth = conv_.depth();
  product.out = sums;
  product.out_stride = kBlocksAtOnce * kFloatLanes;
  for (int64_t first = unit.block, count; first < unit.block + unit.blocks; first += count) {
    count = std::min(kBlocksAtOnce, unit.block + unit.blocks - first);
    product.columns = weight_ + (unit.group * conv_.blocks() + first) * block_values;
    product.column_count = count * kFloatLanes;
    {
      const Stopwatch stopwatch(Phase::kGemm);
      kernel_.multiply_floats(product);
    }
    const Stopwatch stopwatch(Phase::kEpilogue);
    for (int64_t block = first; block < first + count; ++block) {
      const int64_t filter = block * kFloatLanes, filters = std::min(kFloatLanes, conv_.group_filters() - filter);
      for (int64_t row = 0; row < unit.rows; ++row) {
        const Tile tile = {sums + row * strip_.pitch * product.out_stride + (block - first) * kFloatLanes,
                           product.out_stride,
                           unit.image,
                           unit.group * conv_.group_filters() + filter,
                           (unit.row + row) * width + unit.column,
                           filters,
                           unit.columns};
        apply(kernel_, steps_, tile);
        store(kernel_, tile, out_);
      }
    }
  }
}

}  // namespace bmx
