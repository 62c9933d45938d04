#include <algorithm>

#include "gradients.h"

namespace bmx {
namespace {

constexpr int64_t kBlockFilters = 32;
constexpr int64_t kMostColumns = 64;        // of a rectangle
constexpr int64_t kTableBytes = 256 << 10;  // of a rectangle, as well as its sums: what stays in L2
constexpr int64_t kPixelBytes = 32 << 10;   // of one that reads no outputs but its own
constexpr int64_t kFloat = sizeof(float);

// Outputs along one axis that adjacent pixels read at most.
int64_t reached(int64_t pixels, int64_t reach, int64_t stride) { return (pixels + reach - 2) / stride + 2; }

}  // namespace

struct DataGradient::Unit {
  int64_t image, group;
  int64_t row, rows, column, columns;  // of the image
  int64_t first_row, first_column;     // of the outputs
};

DataGradient::DataGradient(const GradientProblem& problem)
    : problem_(problem),
      chunks_(problem.group_channels()),
      blocks_(ceil_div(problem.group_filters(), kBlockFilters)),
      pixel_(block_fours(0) * kSignEntries) {
  const Window& window = problem.window;
  const Size image = problem.image, reach = window.reach(), stride = window.stride;
  rectangle_ = {image.height, ceil_div(image.width, ceil_div(image.width, kMostColumns))};
  outputs_.width = reached(rectangle_.width, reach.width, stride.width);
  for (int64_t parts = 1;; ++parts) {
    rectangle_.height = ceil_div(image.height, parts);
    outputs_.height = reached(rectangle_.height, reach.height, stride.height);
    const int64_t sums = rectangle_.pixels() * chunks_.all_lanes();
    const int64_t most = window.taps() == 1 ? kPixelBytes : kTableBytes;
    if (outputs_.pixels() * pixel_ * kFloat <= most && sums * kFloat <= kTableBytes) break;
    if (rectangle_.height <= stride.height) break;
  }
  for (int64_t row = 0; row < stride.height; ++row) {
    for (int64_t column = 0; column < stride.width; ++column) {
      Phase phase = {row, column, {}, {}, {}};
      for (int64_t tap = 0; tap < window.taps(); ++tap) {
        const int64_t y = tap / window.size.width * window.dilate.height;
        const int64_t x = tap % window.size.width * window.dilate.width;
        if (y % stride.height != row || x % stride.width != column) continue;
        phase.taps.push_back(tap);
        const int64_t output = y / stride.height * outputs_.width + x / stride.width;  // so far before the pixel's
        for (int last = 0; last < 2; ++last) {
          const int64_t fours = block_fours(last ? blocks_ - 1 : 0);
          for (int64_t four = 0; four < fours; ++four) {
            phase.table_offsets[last].push_back(four * kSignEntries - output * pixel_);
            phase.index_offsets[last].push_back((tap * fours + four) * chunks_.lanes);
          }
        }
      }
      phases_.push_back(phase);
    }
  }
}

int64_t DataGradient::block_fours(int64_t block) const {
  return ceil_div(std::min(kBlockFilters, problem_.group_filters() - block * kBlockFilters), 4);
}

int64_t DataGradient::indices_at(int64_t group, int64_t block, int64_t chunk) const {
  return ((group * blocks_ + block) * chunks_.count + chunk) * problem_.window.taps() * block_fours(0) * chunks_.lanes;
}

int64_t DataGradient::shared_bytes() const { return indices_at(problem_.groups, 0, 0); }

int64_t DataGradient::thread_bytes() const {
  const int64_t weights = problem_.group_channels() * problem_.window.taps();
  const int64_t sums = rectangle_.pixels() * chunks_.all_lanes();
  return std::max(weights, round_up(outputs_.pixels() * pixel_ * kFloat, 64) + sums * kFloat);
}

int64_t DataGradient::prepare_tasks() const { return problem_.groups * blocks_; }

// Indices of a block of filters: (chunks, taps, fours, lanes).
void DataGradient::prepare(int64_t task, const GradientArrays& arrays, char* shared, char* own) const {
  const int64_t taps = problem_.window.taps(), channels = problem_.group_channels(), weights = channels * taps;
  const int64_t group = task / blocks_, block = task % blocks_, fours = block_fours(block);
  uint8_t* indices = reinterpret_cast<uint8_t*>(shared);
  uint8_t* four_indices = reinterpret_cast<uint8_t*>(own);
  for (int64_t four = 0; four < fours; ++four) {
    const int64_t first = block * kBlockFilters + four * 4;
    const float* of[4];  // a filter beyond the last may have any signs
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t filter = std::min(first + i, problem_.group_filters() - 1);
      of[i] = arrays.weight + (group * problem_.group_filters() + filter) * weights;
    }
    const float *a = of[0], *b = of[1], *c = of[2], *d = of[3];
    for (int64_t i = 0; i < weights; ++i) {  // sign_index(), in vectors
      const int lower = (a[i] >= 0) | (b[i] >= 0) << 1 | (c[i] >= 0) << 2;
      four_indices[i] = static_cast<uint8_t>(lower ^ (((d[i] >= 0) - 1) & 15));
    }
    for (int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      const uint8_t* from = four_indices + chunk * chunks_.lanes * taps;
      for (int64_t tap = 0; tap < taps; ++tap) {
        uint8_t* to = indices + indices_at(group, block, chunk) + (tap * fours + four) * chunks_.lanes;
        for (int64_t lane = 0; lane < chunks_.in(chunk); ++lane) to[lane] = from[lane * taps + tap];
        std::fill(to + chunks_.in(chunk), to + chunks_.lanes, uint8_t{0});
      }
    }
  }
}

int64_t DataGradient::tasks() const {
  return problem_.images * problem_.groups * ceil_div(problem_.image.height, rectangle_.height) *
         ceil_div(problem_.image.width, rectangle_.width);
}

void DataGradient::compute(int64_t task, const GradientArrays& arrays, const Kernel& kernel, const char* shared,
                           char* own) const {
  const Window& window = problem_.window;
  const Size image = problem_.image, reach = window.reach(), stride = window.stride;
  const int64_t columns = ceil_div(image.width, rectangle_.width), rows = ceil_div(image.height, rectangle_.height);
  Unit unit;
  unit.column = task % columns * rectangle_.width;
  unit.columns = std::min(rectangle_.width, image.width - unit.column);
  unit.row = task / columns % rows * rectangle_.height;
  unit.rows = std::min(rectangle_.height, image.height - unit.row);
  unit.group = task / columns / rows % problem_.groups;
  unit.image = task / columns / rows / problem_.groups;
  unit.first_row = floor_div(unit.row + window.pad.height - (reach.height - 1), stride.height);
  unit.first_column = floor_div(unit.column + window.pad.width - (reach.width - 1), stride.width);
  float* tables = reinterpret_cast<float*>(own);
  float* sums = reinterpret_cast<float*>(own + round_up(outputs_.pixels() * pixel_ * kFloat, 64));
  for (int64_t block = 0; block < blocks_; ++block) {
    make_tables(unit, block, arrays, kernel, tables);
    add_up(unit, block, kernel, reinterpret_cast<const uint8_t*>(shared), tables, sums);
  }
  store(unit, kernel, sums, arrays.data_gradient);
}

// Of all outputs that the unit reads; where there are none they are 0.
void DataGradient::make_tables(const Unit& unit, int64_t block, const GradientArrays& arrays, const Kernel& kernel,
                               float* tables) const {
  const Size out = problem_.out();
  const int64_t pixels = out.pixels(), filters = problem_.filters, fours = block_fours(block);
  const int64_t begin = std::min(outputs_.width, std::max<int64_t>(0, -unit.first_column));
  const int64_t end = std::max(begin, std::min(outputs_.width, out.width - unit.first_column));
  for (int64_t y = 0; y < outputs_.height; ++y) {
    const int64_t row = unit.first_row + y;
    float* to = tables + y * outputs_.width * pixel_;
    if (row < 0 || row >= out.height) {
      std::fill_n(to, outputs_.width * pixel_, 0.0f);
      continue;
    }
    std::fill(to, to + begin * pixel_, 0.0f);
    std::fill(to + end * pixel_, to + outputs_.width * pixel_, 0.0f);
    if (begin == end) continue;
    for (int64_t four = 0; four < fours; ++four) {
      const int64_t own = block * kBlockFilters + four * 4, filter = unit.group * problem_.group_filters() + own;
      const int64_t pixel = row * out.width + unit.first_column + begin;
      const float* from = arrays.gradient + unit.image * filters * pixels;
      from += problem_.planar ? filter * pixels + pixel : pixel * filters + filter;
      for (int64_t next = 4; problem_.planar && next < std::min<int64_t>(8, problem_.group_filters() - own); ++next) {
        prefetch(from + next * pixels, end - begin);
      }
      kernel.make_sign_tables({from, problem_.planar ? pixels : 1, problem_.planar ? 1 : filters,
                               std::min<int64_t>(4, problem_.group_filters() - own), end - begin,
                               to + begin * pixel_ + four * kSignEntries, pixel_});
    }
  }
}

void DataGradient::add_up(const Unit& unit, int64_t block, const Kernel& kernel, const uint8_t* indices,
                          const float* tables, float* sums) const {
  const Size stride = problem_.window.stride, pad = problem_.window.pad;
  const bool last = block == blocks_ - 1;
  for (int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
    for (const Phase& phase : phases_) {
      // the first row and column of the unit that are in this phase
      const int64_t top = unit.row + pad.height, left = unit.column + pad.width;
      const int64_t row = first_pixel(phase.row, top, stride.height);
      const int64_t column = first_pixel(phase.column, left, stride.width);
      if (row >= unit.rows || column >= unit.columns) continue;
      SignSums s = {};
      s.rows = ceil_div(unit.columns - column, stride.width);
      s.row_stride = pixel_;
      s.table_offsets = phase.table_offsets[last].data();
      s.indices = indices + indices_at(unit.group, block, chunk);
      s.index_offsets = phase.index_offsets[last].data();
      s.columns = chunks_.columns(chunk);
      s.depth = static_cast<int64_t>(phase.table_offsets[last].size());
      s.begins = block == 0;
      s.out_stride = stride.width * chunks_.all_lanes();
      for (int64_t y = row; y < unit.rows; y += stride.height) {
        const int64_t output_row = (top + y) / stride.height - unit.first_row;
        const int64_t output_column = (left + column) / stride.width - unit.first_column;
        s.tables = tables + (output_row * outputs_.width + output_column) * pixel_;
        s.out = sums + (y * unit.columns + column) * chunks_.all_lanes() + chunk * chunks_.lanes;
        if (s.depth) {
          kernel.add_signed(s);
        } else if (s.begins) {
          for (int64_t p = 0; p < s.rows; ++p) std::fill_n(s.out + p * s.out_stride, s.columns, 0.0f);
        }
      }
    }
  }
}

void DataGradient::store(const Unit& unit, const Kernel& kernel, const float* sums, float* to) const {
  const int64_t pixels = problem_.image.pixels(), channels = problem_.group_channels(), lanes = chunks_.all_lanes();
  const int64_t first = unit.group * channels;
  to += unit.image * problem_.channels * pixels;
  const int64_t run = unit.columns == problem_.image.width ? unit.rows * unit.columns : unit.columns;  // adjacent
  for (int64_t done = 0; done < unit.rows * unit.columns; done += run) {
    const int64_t pixel = (unit.row + done / unit.columns) * problem_.image.width + unit.column;
    if (problem_.planar) {
      kernel.elementwise.transpose(sums + done * lanes, lanes, run, channels, to + first * pixels + pixel, pixels);
      continue;
    }
    for (int64_t p = 0; p < run; ++p) {
      std::copy_n(sums + (done + p) * lanes, channels, to + (pixel + p) * problem_.channels + first);
    }
  }
}

}  // namespace bmx
