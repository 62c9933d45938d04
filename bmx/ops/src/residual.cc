#include "residual.h"

#include <algorithm>
#include <cstring>

#include "profile.h"
#include "target.h"
#include "tile.h"

namespace bmx {
namespace {

constexpr int64_t kBlock = 32;   // channels that a thread adds up at once: enough not to wait for each addition
constexpr int64_t kPixels = 64;  // adjacent pixels that it loads at once
constexpr int64_t kScaleBytes = 64;

typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Bits __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(32)));
constexpr int kVector = 4, kVectors = kBlock / kVector;

int64_t stride(const Input& input) { return round_up(input.channels, kBlock); }

// E - alpha sign(E) in the place of E and the sums of its magnitudes, of a block of channels, pixel by pixel. With an
// alpha of 0 the values stay.
BMX_CLONES void subtract_and_add_up(float alpha, int64_t pixels, int64_t stride, float* values, double* sums) {
  constexpr int32_t kSign = INT32_MIN;
  const Floats scale = alpha - Floats{};
  Doubles totals[kVectors] = {};
  for (int64_t p = 0; p < pixels; ++p, values += stride) {
    for (int v = 0; v < kVectors; ++v) {
      Floats x;
      std::memcpy(&x, values + v * kVector, sizeof x);
      x += (Floats)((Bits)scale ^ ((Bits)(x >= 0.0f) & kSign));
      std::memcpy(values + v * kVector, &x, sizeof x);
      totals[v] += __builtin_convertvector((Floats)((Bits)x & ~kSign), Doubles);
    }
  }
  std::memcpy(sums, totals, sizeof totals);
}

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
  load_values(image);
  for (int64_t term = 0; term < binarizations_; ++term) {
    next_term(term);
    packer_.run(0, words + term * input_.groups * input_.group_words());
  }
}

void ResidualPacker::load_values(int64_t image) const {
  const Stopwatch stopwatch(Phase::kPack);
  const int64_t pixels = input_.image.pixels();
#pragma omp for schedule(static)
  for (int64_t pixel = 0; pixel < pixels; pixel += kPixels) {
    float* to = values_ + pixel * stride_;
    const int64_t count = std::min(kPixels, pixels - pixel);
    for (const Slice& source : in_) {
      for (int64_t c = 0; c < source.channels; c += kLanes) {
        load(source, {to + c, stride_, image, c, pixel, std::min(kLanes, source.channels - c), count});
      }
      to += source.channels;
    }
    // what lies beyond the last channel is added up with the others: not as slowly as some numbers could be
    for (int64_t p = 0; p < count; ++p) std::fill_n(to + p * stride_, stride_ - input_.channels, 0.0f);
  }
}

// The values of a term, which are at first those of the one before it, and its scale.
void ResidualPacker::next_term(int64_t term) const {
  const Stopwatch stopwatch(Phase::kPack);
  const float alpha = term ? scales_[term - 1] : 0.0f;
#pragma omp for schedule(static)
  for (int64_t c = 0; c < stride_; c += kBlock) {
    subtract_and_add_up(alpha, input_.image.pixels(), stride_, values_ + c, sums_ + c);
  }
#pragma omp single
  {
    double total = 0;
    for (int64_t c = 0; c < input_.channels; ++c) total += sums_[c];
    scales_[term] = static_cast<float>(total / static_cast<double>(input_.channels * input_.image.pixels()));
  }
}

}  // namespace bmx
