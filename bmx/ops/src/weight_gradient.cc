#include <algorithm>

#include "gradients.h"
#include "packing.h"
#include "vectors.h"

namespace bmx {
namespace {

constexpr int64_t kBlockFilters = 32;
constexpr int64_t kDepth = 64;        // fours whose tables a thread makes at once
constexpr int64_t kTableFilters = 6;  // of which: these tables fit the L1 cache
constexpr int64_t kChunksAtOnce = 4;  // which share them
constexpr int64_t kLeastTasks = 8;    // images are divided until there are so many
constexpr int64_t kRows = 16;         // of an image, which are prepared at once
constexpr int64_t kFloat = sizeof(float);

// of[byte]: its bits as bytes.
struct SpreadBits {
  uint64_t of[256];
  constexpr SpreadBits() : of() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int bit = 0; bit < 8; ++bit) of[byte] |= static_cast<uint64_t>(byte >> bit & 1) << 8 * bit;
    }
  }
};
constexpr SpreadBits kSpreadBits;

typedef VectorOf<uint8_t, 16>::Type Bytes;

// sign_index() of bytes that are 0 or 1, of those at `signs` and every `step` bytes on; `count` is a multiple of 16.
void join_signs(const uint8_t* signs, int64_t step, int64_t count, uint8_t* indices) {
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(sizeof(Bytes))) {
    const auto value = [&](int j) { return load_from<Bytes>(signs + i + j * step); };
    const Bytes second = value(1), third = value(2), last = value(3);
    const Bytes lower = value(0) + (second + second) + (third + third + third + third);
    store_to(lower ^ ((last - 1) & 15), indices + i);
  }
}

}  // namespace

WeightGradient::WeightGradient(const GradientProblem& problem)
    : problem_(problem),
      chunks_(problem.group_channels()),
      padded_(problem.window.padded(problem.image)),
      row_fours_(ceil_div(problem.out().width, 4)),
      blocks_(ceil_div(problem.group_filters(), kBlockFilters)),
      chunk_parts_(ceil_div(chunks_.count, kChunksAtOnce)) {
  image_parts_ = std::min(problem.images, ceil_div(kLeastTasks, problem.groups * blocks_ * chunk_parts_));
  image_parts_ = std::max<int64_t>(1, image_parts_);
  // the last four of a row reads signs behind it
  padded_.width =
      std::max(padded_.width, (4 * row_fours_ - 4) * problem.window.stride.width + problem.window.reach().width);
}

int64_t WeightGradient::indices_bytes() const {
  return round_up(problem_.images * problem_.groups * chunks_.count * plane_bytes(), 64);
}

bool WeightGradient::is_direct() const {
  const Size pad = problem_.window.pad;
  const bool has_share = problem_.pad_value == 0 && (pad.height || pad.width);
  return problem_.window.taps() == 1 && image_parts_ == 1 && chunks_.channels % kFloatLanes == 0 && !has_share;
}

int64_t WeightGradient::shared_bytes() const {
  const int64_t sums = image_parts_ * problem_.window.taps() * problem_.filters * chunks_.all_lanes();
  return indices_bytes() + (is_direct() ? 0 : sums * kFloat);
}

int64_t WeightGradient::thread_bytes() const {
  const int64_t width = padded_.width + 3 * problem_.window.stride.width;
  const int64_t prepare = width * (8 + chunks_.lanes);
  const int64_t finish = problem_.window.taps() * chunks_.all_lanes() * kFloat;
  return std::max({prepare, finish, kTableFilters * kDepth * kSignEntries * kFloat});
}

int64_t WeightGradient::prepare_tasks() const {
  return problem_.images * problem_.groups * chunks_.count * ceil_div(padded_.height, kRows);
}

// Indices of every padded pixel: its sign and those of the next three that adjacent outputs read. (images, groups,
// chunks, pixels, lanes).
void WeightGradient::prepare(int64_t task, const GradientArrays& arrays, const Kernel& kernel, char* shared,
                             char* own) const {
  const Size image = problem_.image, pad = problem_.window.pad;
  const int64_t parts = ceil_div(padded_.height, kRows), plane = task / parts, chunk = plane % chunks_.count;
  const int64_t group = plane / chunks_.count % problem_.groups, n = plane / chunks_.count / problem_.groups;
  const int64_t channel = group * problem_.group_channels() + chunk * chunks_.lanes, channels = chunks_.in(chunk);
  const int64_t stride = problem_.window.stride.width, width = padded_.width + 3 * stride;
  const float* from = arrays.data + n * problem_.channels * image.pixels();
  from += problem_.planar ? channel * image.pixels() : channel;
  const float threshold[kWordBits] = {};
  const uint32_t flip[kWordBits / kHalf] = {};
  uint64_t* words = reinterpret_cast<uint64_t*>(own);
  uint8_t* signs = reinterpret_cast<uint8_t*>(own) + width * 8;
  const uint64_t border = problem_.pad_value > 0 ? ~uint64_t{0} : 0;
  const int64_t begin = task % parts * kRows, end = std::min(padded_.height, begin + kRows);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t y = row - pad.height;
    std::fill_n(words, width, border);
    if (y >= 0 && y < image.height) {
      std::fill_n(words + pad.width, image.width, uint64_t{0});
      const int64_t pixel = y * image.width;
      kernel.binarize_floats({from + (problem_.planar ? pixel : pixel * problem_.channels),
                              problem_.planar ? image.pixels() : 1, problem_.planar ? 1 : problem_.channels, channels,
                              image.width, threshold, flip, reinterpret_cast<uint32_t*>(words + pad.width), 2});
    }
    for (int64_t p = 0; p < width; ++p) {
      for (int64_t lane = 0; lane < chunks_.lanes; lane += 8) {
        store_to(kSpreadBits.of[words[p] >> lane & 255], signs + p * chunks_.lanes + lane);
      }
    }
    uint8_t* to = reinterpret_cast<uint8_t*>(shared) + plane * plane_bytes() + row * padded_.width * chunks_.lanes;
    join_signs(signs, stride * chunks_.lanes, padded_.width * chunks_.lanes, to);
  }
}

int64_t WeightGradient::tasks() const { return image_parts_ * problem_.groups * blocks_ * chunk_parts_; }

void WeightGradient::compute(int64_t task, const GradientArrays& arrays, const Kernel& kernel, char* shared,
                             char* own) const {
  const Window& window = problem_.window;
  const int64_t chunk_part = task % chunk_parts_, block = task / chunk_parts_ % blocks_;
  const int64_t group = task / chunk_parts_ / blocks_ % problem_.groups;
  const int64_t part = task / chunk_parts_ / blocks_ / problem_.groups;
  const int64_t first_chunk = chunk_part * kChunksAtOnce;
  const int64_t last_chunk = std::min(chunks_.count, first_chunk + kChunksAtOnce);
  const int64_t own_filter = block * kBlockFilters, filter = group * problem_.group_filters() + own_filter;
  const int64_t filters = std::min(kBlockFilters, problem_.group_filters() - own_filter);
  const int64_t image_fours = problem_.out().height * row_fours_;
  const int64_t begin = part * problem_.images / image_parts_ * image_fours;
  const int64_t end = (part + 1) * problem_.images / image_parts_ * image_fours;
  float* tables = reinterpret_cast<float*>(own);
  float* sums = is_direct() ? arrays.weight_gradient : reinterpret_cast<float*>(shared + indices_bytes());
  const uint8_t* indices = reinterpret_cast<const uint8_t*>(shared);
  int64_t table_offsets[kDepth], index_offsets[kDepth];
  for (int64_t k = 0; k < kDepth; ++k) table_offsets[k] = k * kSignEntries;
  SignSums s = {};
  s.tables = tables;
  s.table_offsets = table_offsets;
  s.row_stride = kDepth * kSignEntries;
  s.index_offsets = index_offsets;
  s.out_stride = is_direct() ? chunks_.channels : chunks_.all_lanes();
  for (int64_t from = begin; from < end; from += kDepth) {
    const int64_t to = std::min(end, from + kDepth);
    for (int64_t k = from; k < to; ++k) {
      const int64_t plane = k / image_fours * problem_.groups * chunks_.count;
      const int64_t row = k % image_fours / row_fours_ * window.stride.height;
      const int64_t column = k % row_fours_ * 4 * window.stride.width;
      index_offsets[k - from] = plane * plane_bytes() + (row * padded_.width + column) * chunks_.lanes;
    }
    s.depth = to - from;
    s.begins = from == begin;
    for (int64_t first = 0; first < filters; first += s.rows) {
      s.rows = std::min(kTableFilters, filters - first);
      make_tables(filter + first, s.rows, from, to, arrays, kernel, tables);
      for (int64_t chunk = first_chunk; chunk < last_chunk; ++chunk) {
        s.columns = chunks_.columns(chunk);
        for (int64_t tap = 0; tap < window.taps(); ++tap) {
          const int64_t row = tap / window.size.width * window.dilate.height;
          const int64_t column = tap % window.size.width * window.dilate.width;
          s.indices = indices + (group * chunks_.count + chunk) * plane_bytes() +
                      (row * padded_.width + column) * chunks_.lanes;
          s.out = sums + ((part * window.taps() + tap) * problem_.filters + filter + first) * s.out_stride +
                  chunk * chunks_.lanes;
          kernel.add_signed(s);
        }
      }
    }
  }
}

// Of fours [begin, end), counted through all images: (filters, kDepth, entries).
void WeightGradient::make_tables(int64_t filter, int64_t filters, int64_t begin, int64_t end,
                                 const GradientArrays& arrays, const Kernel& kernel, float* tables) const {
  const Size out = problem_.out();
  const int64_t pixels = out.pixels(), step = problem_.planar ? 1 : problem_.filters;
  const int64_t whole = out.width / 4;
  for (int64_t k = begin, count; k < end; k += count) {
    const int64_t image = k / (out.height * row_fours_), four = k % (out.height * row_fours_);
    const int64_t row = four / row_fours_, column = four % row_fours_;
    count = column < whole ? whole - column : 1;
    if (whole == row_fours_) count = out.height * row_fours_ - four;  // rows without rest are one
    count = std::min(count, end - k);
    const int64_t pixel = row * out.width + column * 4;
    for (int64_t f = 0; f < filters; ++f) {
      const float* from = arrays.gradient + image * problem_.filters * pixels;
      from += problem_.planar ? (filter + f) * pixels + pixel : pixel * problem_.filters + filter + f;
      if (problem_.planar && f + 1 < filters) prefetch(from + pixels, 4 * count);
      kernel.make_sign_tables({from, step, 4 * step, column < whole ? 4 : out.width % 4, count,
                               tables + (f * kDepth + k - begin) * kSignEntries, kSignEntries});
    }
  }
}

// The sum of the gradients of a filter's outputs whose tap is padding.
double WeightGradient::padding_share(int64_t filter, int64_t tap, const GradientArrays& arrays) const {
  const Window& window = problem_.window;
  const Size out = problem_.out(), image = problem_.image;
  const int64_t top = tap / window.size.width * window.dilate.height - window.pad.height;
  const int64_t left = tap % window.size.width * window.dilate.width - window.pad.width;
  double sum = 0;
  for (int64_t n = 0; n < problem_.images; ++n) {
    for (int64_t y = 0; y < out.height; ++y) {
      const int64_t row = top + y * window.stride.height;
      const bool inside = row >= 0 && row < image.height;
      for (int64_t x = 0; x < out.width; ++x) {
        const int64_t column = left + x * window.stride.width;
        if (inside && column >= 0 && column < image.width) continue;
        const int64_t pixel = y * out.width + x;
        const float* of = arrays.gradient + n * problem_.filters * out.pixels();
        sum += of[problem_.planar ? filter * out.pixels() + pixel : pixel * problem_.filters + filter];
      }
    }
  }
  return sum;
}

// Brings the gradient of a filter to its place, (channels, taps).
void WeightGradient::finish(int64_t filter, const GradientArrays& arrays, const Kernel& kernel, const char* shared,
                            char* own) const {
  const Size pad = problem_.window.pad;
  const int64_t taps = problem_.window.taps(), channels = problem_.group_channels(), lanes = chunks_.all_lanes();
  const float* sums = reinterpret_cast<const float*>(shared + indices_bytes()) + filter * lanes;
  float* total = reinterpret_cast<float*>(own);
  for (int64_t tap = 0; tap < taps; ++tap, total += lanes) {
    std::copy_n(sums + tap * problem_.filters * lanes, channels, total);
    for (int64_t part = 1; part < image_parts_; ++part) {
      const float* addend = sums + (part * taps + tap) * problem_.filters * lanes;
      for (int64_t c = 0; c < channels; ++c) total[c] += addend[c];
    }
    if (problem_.pad_value || (!pad.height && !pad.width)) continue;
    const float share = static_cast<float>(padding_share(filter, tap, arrays));
    for (int64_t c = 0; c < channels; ++c) total[c] += share;
  }
  kernel.elementwise.transpose(reinterpret_cast<float*>(own), lanes, taps, channels,
                               arrays.weight_gradient + filter * channels * taps, taps);
}

}  // namespace bmx
