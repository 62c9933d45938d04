// Kernel::prepare and Kernel::multiply against sums of population counts.
#include <algorithm>

#include "guarded.h"
#include "random.h"
#include "tests.h"

namespace {

// Where the words of an activation lie: in one tap; in a window of taps that slides over an image; anywhere.
enum Layout { kDense, kWindow, kScattered, kLayouts };
// Random; or as many equal, or different, bits as there can be, which overflows a narrow counter.
enum Content { kRandom, kEqual, kOpposite };

struct Shape {
  int64_t depth, filters, pixels;
  Layout layout;
  Content content;
};

std::string name_of(const Shape& shape) {
  static const char* const layouts[] = {"dense", "window", "scattered"};
  static const char* const contents[] = {"random", "equal", "opposite"};
  return "depth " + std::to_string(shape.depth) + ", filters " + std::to_string(shape.filters) + ", pixels " +
         std::to_string(shape.pixels) + ", " + layouts[shape.layout] + ", " + contents[shape.content];
}

// Taps, and the words of each.
struct Window {
  int64_t height, width, words;
};

Window window_of(const Shape& shape) {
  if (shape.layout == kDense) return {1, 1, shape.depth};
  if (shape.layout == kScattered) return {1, shape.depth, 1};
  if (shape.depth % 9 == 0) return {3, 3, shape.depth / 9};
  for (int64_t width = 2; width < shape.depth; ++width) {
    if (shape.depth % width == 0) return {1, width, shape.depth / width};
  }
  return {shape.depth, 1, 1};
}

struct Problem {
  Shape shape;
  int64_t bits, out_stride;
  std::vector<int64_t> origins, taps;
  std::vector<uint64_t> activations, weights;
  std::vector<int32_t> expected;  // (pixels, filters)

  explicit Problem(const Shape& of) : shape(of) {
    const Window window = window_of(shape);
    const int64_t last_bits = random_word() % 2 ? 64 : 1 + random_below(64);  // in the last word of every tap
    bits = window.height * window.width * (64 * (window.words - 1) + last_bits);
    out_stride = bmx::round_up(shape.filters, bmx::kFilterTile) + 16 * random_below(6);
    place(window);
    fill(window, last_bits == 64 ? ~uint64_t{0} : (uint64_t{1} << last_bits) - 1);
    for (int64_t p = 0; p < shape.pixels; ++p) {
      for (int64_t o = 0; o < shape.filters; ++o) {
        int64_t differing = 0;
        for (int64_t k = 0; k < shape.depth; ++k) {
          differing += __builtin_popcountll(activations[origins[p] + taps[k]] ^ weights[o * shape.depth + k]);
        }
        expected.push_back(static_cast<int32_t>(bits - 2 * differing));
      }
    }
  }

  // An image of `row` output pixels a row, with stride and dilation.
  void place(const Window& window) {
    const int64_t row = std::min<int64_t>(shape.pixels, 1 + random_below(9));
    const int64_t stride = 1 + random_below(2), dilate = 1 + random_below(2);
    const int64_t width = ((row - 1) * stride + (window.width - 1) * dilate + 1 + random_below(3)) * window.words;
    for (int64_t p = 0; p < shape.pixels; ++p) {
      origins.push_back(p / row * stride * width + p % row * stride * window.words);
    }
    for (int64_t k = 0; k < shape.depth; ++k) {
      const int64_t tap = k / window.words;
      taps.push_back(tap / window.width * dilate * width + tap % window.width * dilate * window.words +
                     k % window.words);
    }
    if (shape.layout == kScattered) {
      for (int64_t& origin : origins) origin = random_below(2 * shape.pixels);
      for (int64_t& tap : taps) tap = random_below(2 * shape.depth);
    }
  }

  void fill(const Window& window, uint64_t last_mask) {
    const auto mask = [&](int64_t k) { return k % window.words == window.words - 1 ? last_mask : ~uint64_t{0}; };
    const int64_t last_origin = *std::max_element(origins.begin(), origins.end());
    activations.resize(last_origin + *std::max_element(taps.begin(), taps.end()) + 1);
    for (uint64_t& word : activations) word = random_word();  // in words that nobody refers to, unused bits are set
    for (int64_t p = 0; p < shape.pixels; ++p) {
      for (int64_t k = 0; k < shape.depth; ++k) {
        uint64_t& word = activations[origins[p] + taps[k]];
        word = (shape.content == kRandom ? word : ~uint64_t{0}) & mask(k);
      }
    }
    for (int64_t i = 0; i < shape.filters * shape.depth; ++i) {
      const uint64_t word = shape.content == kRandom ? random_word() : shape.content == kEqual ? ~uint64_t{0} : 0;
      weights.push_back(word & mask(i % shape.depth));
    }
  }
};

// Word by word: (blocks, depth, filters of the block).
std::vector<uint64_t> interleaved(const Problem& problem) {
  const int64_t filters = problem.shape.filters, depth = problem.shape.depth;
  std::vector<uint64_t> words;
  for (int64_t block = 0; block < filters; block += bmx::kFilterTile) {
    const int64_t end = block + bmx::round_up(std::min(bmx::kFilterTile, filters - block), bmx::kInterleaved);
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t o = block; o < end; ++o) words.push_back(o < filters ? problem.weights[o * depth + k] : 0);
    }
  }
  return words;
}

// What is wrong with the kernel's result; empty if nothing.
std::string run(const bmx::Kernel& kernel, const Problem& problem, Side side) {
  const Shape& shape = problem.shape;
  const Guarded<int64_t> origins(problem.origins, side), taps(problem.taps, side);
  const Guarded<uint64_t> activations(problem.activations, side), weights(interleaved(problem), side);
  Guarded<char> prepared(kernel.prepare ? kernel.prepared_bytes(shape.filters, shape.depth) : 0, side, 64);
  Guarded<int32_t> out(shape.pixels * problem.out_stride, side, 64);
  if (kernel.prepare) kernel.prepare(weights.data(), shape.filters, shape.depth, prepared.data());
  if (!prepared.intact_around()) return "prepare writes outside of its output";
  prepared.protect();
  const int32_t untouched = out[0];

  bmx::Product product;
  product.activations = activations.data();
  product.origins = origins.data();
  product.taps = taps.data();
  product.weights = kernel.prepare ? static_cast<const void*>(prepared.data()) : weights.data();
  product.depth = shape.depth;
  product.bits = problem.bits;
  product.filters = shape.filters;
  product.pixels = shape.pixels;
  product.out = out.data();
  product.out_stride = problem.out_stride;
  kernel.multiply(product);

  for (int64_t p = 0; p < shape.pixels; ++p) {
    const int32_t* row = out.data() + p * problem.out_stride;
    for (int64_t o = 0; o < shape.filters; ++o) {
      const int32_t expected = problem.expected[p * shape.filters + o];
      if (row[o] == expected) continue;
      return "pixel " + std::to_string(p) + ", filter " + std::to_string(o) + ": expected " + std::to_string(expected) +
             ", got " + std::to_string(row[o]);
    }
    for (int64_t o = bmx::round_up(shape.filters, bmx::kFilterTile); o < problem.out_stride; ++o) {
      if (row[o] != untouched) return "multiply writes beyond the filters' tile";
    }
  }
  return out.intact_around() ? "" : "multiply writes outside of its output";
}

std::vector<Shape> shapes(bool few, int64_t thinning) {
  const std::vector<int64_t> depths = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 45, 144, 300};
  const std::vector<int64_t> filters = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 200};
  const std::vector<int64_t> pixels = {1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 33, 49, 64, 129};
  std::vector<Shape> all;
  int64_t i = 0;
  for (const int64_t depth : depths) {
    for (const int64_t o : filters) {
      for (const int64_t p : pixels) {
        if (random_below(few ? 6 * thinning : thinning) != 0 || (few && depth * o * p > 100000)) continue;
        all.push_back({depth, o, p, static_cast<Layout>(i++ % kLayouts), kRandom});
      }
    }
    for (const Content content : {kEqual, kOpposite}) {
      for (const int64_t o : {int64_t{1}, int64_t{65}}) all.push_back({depth, o, 5, kDense, content});
    }
  }
  for (const Content content : {kEqual, kOpposite}) all.push_back({few ? 600 : 4500, 33, 5, kDense, content});
  return all;
}

}  // namespace

void test_products(std::vector<Contestant>* contestants, int64_t thinning) {
  for (Contestant& contestant : *contestants) {
    for (const auto bound : {contestant.kernel->bound, contestant.kernel->float_bound}) {
      announce(contestant.kernel->name, "bounds");
      const int64_t products = bound(3);
      if (products <= 0 || bound(6) != 2 * products) contestant.failure = "a bound miscounts";
    }
  }
  const auto test = [](const Shape& shape, Contestant* contestant, const Problem& problem) {
    if (!contestant->failure.empty()) return;
    const std::string name = name_of(shape);
    announce(contestant->kernel->name, name);
    const std::string wrong = run(*contestant->kernel, problem, random_word() % 2 ? Side::kFront : Side::kBack);
    if (!wrong.empty()) contestant->failure = name + ": " + wrong;
    ++contestant->products;
  };
  for (const bool few : {true, false}) {
    for (const Shape& shape : shapes(few, thinning)) {
      const Problem problem(shape);
      for (Contestant& contestant : *contestants) {
        if (contestant.emulated == few) test(shape, &contestant, problem);
      }
    }
  }
}
