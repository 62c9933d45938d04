#include "measure.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "float_convolution.h"
#include "packing.h"

namespace bmx {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds of the shortest of several runs, which fill `budget` seconds.
template <typename Function>
double shortest(double budget, const Function& function) {
  double best = 1e9;
  const double end = now() + budget;
  for (int runs = 0; runs < 3 || now() < end; ++runs) {
    const double begin = now();
    function();
    best = std::min(best, now() - begin);
  }
  return best;
}

// Memory for `bytes` bytes, filled, 64-byte aligned.
class Block {
 public:
  explicit Block(int64_t bytes) : bytes_(bytes + 64, 0x5a) {}
  template <typename Value>
  Value* at() {
    return reinterpret_cast<Value*>(round_up(reinterpret_cast<intptr_t>(bytes_.data()), 64));
  }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace

double measure_loop(int64_t (*loop)(int64_t iterations)) {
  int64_t iterations = 64, results = 0;
  const auto run = [&] { results = loop(iterations); };
  while (shortest(0, run) < 5e-4) iterations *= 2;
  const double seconds = shortest(0.04, run);
  return results / seconds;
}

double measure_product(const Kernel& kernel, Size image, int64_t channels, int64_t filters, Size window,
                       double budget) {
  const int64_t words = words_for(channels), depth = window.pixels() * words;
  const Size padded = {image.height + window.height - 1, image.width + window.width - 1};
  Block activations(padded.pixels() * words * 8), interleaved(interleaved_bytes(filters, depth));
  Block prepared(kernel.prepare ? kernel.prepared_bytes(filters, depth) : 0);
  Block out(kPixelTile * round_up(filters, kFilterTile) * 4);
  if (kernel.prepare) kernel.prepare(interleaved.at<uint64_t>(), filters, depth, prepared.at<void>());
  std::vector<int64_t> taps, origins;
  for (int64_t tap = 0; tap < window.pixels(); ++tap) {
    const int64_t pixel = tap / window.width * padded.width + tap % window.width;
    for (int64_t w = 0; w < words; ++w) taps.push_back(pixel * words + w);
  }
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) origins.push_back((y * padded.width + x) * words);
  }
  Product product;
  product.activations = activations.at<uint64_t>();
  product.taps = taps.data();
  product.weights = (kernel.prepare ? prepared : interleaved).at<void>();
  product.depth = depth;
  product.bits = window.pixels() * channels;
  product.filters = filters;
  product.out = out.at<int32_t>();
  product.out_stride = round_up(filters, kFilterTile);
  const int64_t pixels = origins.size();
  return shortest(budget, [&] {
    for (int64_t first = 0; first < pixels; first += kPixelTile) {
      product.origins = origins.data() + first;
      product.pixels = std::min(kPixelTile, pixels - first);
      kernel.multiply(product);
    }
  });
}

double measure_float_product(const Kernel& kernel, Size image, int64_t channels, int64_t filters, int64_t groups,
                             Size window, int64_t stride, double budget) {
  FloatConvolution conv = {image, {}, channels, filters, groups};
  conv.window.size = window;
  conv.window.stride = {stride, stride};
  conv.window.pad = {window.height / 2, window.width / 2};
  const int64_t pixels = conv.image.pixels(), out_pixels = conv.out().pixels();
  Block data(channels * pixels * 4), out(filters * out_pixels * 4), threads(conv.thread_bytes());
  Block weight(groups * conv.blocks() * conv.depth() * conv.lanes() * 4);
  const Slice from = {Layout::kPlanar, channels, pixels, 0, data.at<char>()};
  const Slice to = {Layout::kPlanar, filters, out_pixels, 0, out.at<char>()};
  const FloatConvolutionTask task(
      conv, {kernel, {from}, {}, {}, to, {weight.at<float>()}, nullptr, nullptr, threads.at<char>()});
  return shortest(budget, [&] { task.run(0); });
}

}  // namespace bmx
