#include "residual.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "profile.h"
#include "tile.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace bmx {
namespace {

constexpr int64_t kBlock = 32;   // channels that are added up at once: enough not to wait for each addition
constexpr int64_t kPixels = 64;  // adjacent pixels that are worked on at once
constexpr int64_t kScaleBytes = 64;

int64_t stride(const Input& input) { return round_up(input.channels, kBlock); }

// E - alpha sign(E) in the place of E, and its magnitudes added to the sums of a block of channels, pixel by pixel. With
// an alpha of 0 the values stay. A sum with either sign of alpha is the same number as the difference.
void subtract_and_add_up(float alpha, int64_t pixels, int64_t stride, float* values, double* sums) {
  for (int64_t p = 0; p < pixels; ++p, values += stride) {
    for (int64_t c = 0; c < kBlock; ++c) {
      values[c] += values[c] >= 0.0f ? -alpha : alpha;
      sums[c] += std::fabs(static_cast<double>(values[c]));
    }
  }
}

#ifdef __x86_64__

__attribute__((target("avx"))) void subtract_and_add_up_avx(float alpha, int64_t pixels, int64_t stride, float* values,
                                                            double* sums) {
  const __m256 scale = _mm256_set1_ps(alpha), sign = _mm256_set1_ps(-0.0f), zero = _mm256_setzero_ps();
  __m256d totals[kBlock / 4];
  for (int v = 0; v < kBlock / 4; ++v) totals[v] = _mm256_loadu_pd(sums + 4 * v);
  for (int64_t p = 0; p < pixels; ++p, values += stride) {
    for (int v = 0; v < kBlock / 8; ++v) {
      const __m256 old = _mm256_loadu_ps(values + 8 * v);
      const __m256 minus = _mm256_and_ps(_mm256_cmp_ps(old, zero, _CMP_GE_OQ), sign);
      const __m256 x = _mm256_add_ps(old, _mm256_xor_ps(scale, minus));
      _mm256_storeu_ps(values + 8 * v, x);
      const __m256 size = _mm256_andnot_ps(sign, x);
      totals[2 * v] = _mm256_add_pd(totals[2 * v], _mm256_cvtps_pd(_mm256_castps256_ps128(size)));
      totals[2 * v + 1] = _mm256_add_pd(totals[2 * v + 1], _mm256_cvtps_pd(_mm256_extractf128_ps(size, 1)));
    }
  }
  for (int v = 0; v < kBlock / 4; ++v) _mm256_storeu_pd(sums + 4 * v, totals[v]);
}

const auto subtract_and_add_up_here = __builtin_cpu_supports("avx") ? subtract_and_add_up_avx : subtract_and_add_up;

#else

constexpr auto subtract_and_add_up_here = subtract_and_add_up;

#endif

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
      load(source, {row + c, stride_, image, c - first, pixel, std::min(kLanes, to - c), pixels});
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
  const Stopwatch stopwatch(Phase::kPack);
  const float alpha = term ? scales_[term - 1] : 0.0f;
  const int64_t all = input_.image.pixels(), blocks = stride_ / kBlock;
  const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
  const int64_t begin = blocks * thread / threads * kBlock, end = blocks * (thread + 1) / threads * kBlock;
  std::fill(sums_ + begin, sums_ + end, 0.0);
  for (int64_t pixel = 0; pixel < all && begin < end; pixel += kPixels) {
    const int64_t pixels = std::min(kPixels, all - pixel);
    if (term == 0) load_values(image, pixel, pixels, begin, end);
    for (int64_t c = begin; c < end; c += kBlock) {
      subtract_and_add_up_here(alpha, pixels, stride_, values_ + pixel * stride_ + c, sums_ + c);
    }
  }
#pragma omp barrier
#pragma omp single
  {
    double total = 0;
    for (int64_t c = 0; c < input_.channels; ++c) total += sums_[c];
    scales_[term] = static_cast<float>(total / static_cast<double>(input_.channels * all));
  }
}

}  // namespace bmx
