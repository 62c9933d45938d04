// Kernel for x86-64 with the popcnt instruction (every CPU since about 2009, but not the architecture's baseline).
#include "kernels.h"

#ifdef __x86_64__

namespace bmx {

bool supports_popcnt() { return __builtin_cpu_supports("popcnt"); }

namespace {

constexpr int kFilters = 3, kPixels = 2;  // a tile: its counts stay in registers

template <int Filters, int Pixels>
__attribute__((target("popcnt"))) void run_tile(const Product& product, int64_t filter, int64_t pixel) {
  const uint64_t* weights = product.weights + filter * product.depth;
  const uint64_t* activations[Pixels];
  for (int p = 0; p < Pixels; ++p) activations[p] = product.activations + product.origins[pixel + p];
  int64_t counts[Filters][Pixels] = {};
  for (int64_t k = 0; k < product.depth; ++k) {
    const int64_t tap = product.taps[k];
    for (int f = 0; f < Filters; ++f) {
      const uint64_t weight = weights[f * product.depth + k];
      for (int p = 0; p < Pixels; ++p) counts[f][p] += __builtin_popcountll(activations[p][tap] ^ weight);
    }
  }
  float* out = product.out + filter * product.filter_stride + pixel * product.pixel_stride;
  for (int f = 0; f < Filters; ++f) {
    for (int p = 0; p < Pixels; ++p) {
      out[f * product.filter_stride + p * product.pixel_stride] = static_cast<float>(product.bits - 2 * counts[f][p]);
    }
  }
}

template <int Filters>
void run_filters(const Product& product, int64_t filter) {
  int64_t p = 0;
  for (; p + kPixels <= product.pixels; p += kPixels) run_tile<Filters, kPixels>(product, filter, p);
  for (; p < product.pixels; ++p) run_tile<Filters, 1>(product, filter, p);
}

}  // namespace

void run_popcnt(const Product& product) {
  int64_t f = 0;
  for (; f + kFilters <= product.filters; f += kFilters) run_filters<kFilters>(product, f);
  for (; f < product.filters; ++f) run_filters<1>(product, f);
}

}  // namespace bmx

#endif  // __x86_64__
