#include "residual.h"

#include <algorithm>
#include <cstring>

#include "profile.h"
#include "team.h"
#include "tile.h"

namespace bmx {
namespace {

constexpr int64_t kPixels = 64;  // adjacent pixels that are worked on at once
constexpr int64_t kScaleBytes = 64;

int64_t stride(const Input& input) { return round_up(input.channels, kResidualBlock); }

}  // namespace

int64_t ResidualPacker::bytes(const Input& input) {
  return kScaleBytes + stride(input) * static_cast<int64_t>(sizeof(double)) +
         round_up(input.image.pixels() * stride(input) * static_cast<int64_t>(sizeof(float)), 64);
}

ResidualPacker::ResidualPacker(const Input& input, const std::vector<Slice>& in, int64_t binarizations,
                               const Kernel& kernel, char* memory)
    : input_(input),
      in_(in),
      binarizations_(binarizations),
      kernel_(kernel),
      stride_(stride(input)),
      scales_(reinterpret_cast<float*>(memory)),
      sums_(reinterpret_cast<double*>(memory + kScaleBytes)),
      values_(reinterpret_cast<float*>(sums_ + stride_)),
      packer_(input, {{Layout::kFloats, input.channels, stride_, 0, reinterpret_cast<char*>(values_)}}, nullptr,
              kernel) {}

void ResidualPacker::run(int64_t image, uint64_t* words) const {
  for (int64_t term = 0; term < binarizations_; ++term) {
    next_term(image, term);
    packer_.run(0, words + term * input_.groups * input_.group_words());
  }
}

// Channels [begin, end) of adjacent pixels.
void ResidualPacker::load_values(int64_t image, int64_t pixel, int64_t pixels, int64_t begin, int64_t end) const {
  float* row = values_ + pixel * stride_;
  int64_t first = 0;
  for (const Slice& source : in_) {
    const int64_t from = std::max(begin, first), to = std::min(end, first + source.channels);
    const bool rows = source.layout == Layout::kFloats;  // adjacent channels, as here
    for (int64_t p = 0; rows && from < to && p < pixels; ++p) {
      std::memcpy(row + p * stride_ + from, source.at(image, from - first, pixel + p), (to - from) * sizeof(float));
    }
    for (int64_t c = from; !rows && c < to; c += kLanes) {
      load(kernel_, source, {row + c, stride_, image, c - first, pixel, std::min(kLanes, to - c), pixels});
    }
    first += source.channels;
  }
  // What lies beyond the last channel is added up with the others.
  for (int64_t p = 0; p < pixels && first < end; ++p) {
    std::fill(row + p * stride_ + first, row + p * stride_ + end, 0.0f);
  }
}

// The values of a term, which are at first the data, then those of the term before it, and its scale. Each thread adds
// up channels of its own, some pixels of all of these at a time, as they lie in memory.
void ResidualPacker::next_term(int64_t image, int64_t term) const {
  const Stopwatch stopwatch(Phase::kPacking);
  const float alpha = term ? scales_[term - 1] : 0.0f;
  const int64_t all = input_.image.pixels(), blocks = stride_ / kResidualBlock;
  const int64_t thread = member(), threads = members();
  const int64_t begin = blocks * thread / threads * kResidualBlock;
  const int64_t end = blocks * (thread + 1) / threads * kResidualBlock;
  std::fill(sums_ + begin, sums_ + end, 0.0);
  for (int64_t pixel = 0; pixel < all && begin < end; pixel += kPixels) {
    const int64_t pixels = std::min(kPixels, all - pixel);
    if (term == 0) load_values(image, pixel, pixels, begin, end);
    for (int64_t c = begin; c < end; c += kResidualBlock) {
      kernel_.elementwise.subtract_and_add_up(alpha, pixels, stride_, values_ + pixel * stride_ + c, sums_ + c);
    }
  }
  meet();
  if (thread == 0) {
    double total = 0;
    for (int64_t c = 0; c < input_.channels; ++c) total += sums_[c];
    scales_[term] = static_cast<float>(total / static_cast<double>(input_.channels * all));
  }
  meet();
}

}  // namespace bmx
