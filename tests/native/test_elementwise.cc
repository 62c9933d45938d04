// Kernel::elementwise against that of the kernel `portable`, and the order of its sums against a plain loop: all bits
// are the same.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "guarded.h"
#include "random.h"
#include "tests.h"

namespace {

using bmx::Elementwise;
using bmx::kLanes;

Side any_side() { return random_word() % 2 ? Side::kFront : Side::kBack; }

// Numbers of many magnitudes, both zeros, infinities, NaN, denormals.
template <typename Value>
Value random_value() {
  typedef std::numeric_limits<Value> Limits;
  const Value special[] = {
      Value{0},     -Value{0}, Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), Limits::denorm_min(),
      Limits::max()};
  if (sometimes(8)) return special[random_below(7)];
  return std::ldexp(static_cast<Value>(random_below(1 << 24) - (1 << 23)), static_cast<int>(random_below(9)) - 28);
}

// Sums of products that fit int16 with what is added to them.
template <>
int32_t random_value<int32_t>() {
  return static_cast<int32_t>(random_below(1 << 14) - (1 << 13));
}
template <>
int16_t random_value<int16_t>() {
  return static_cast<int16_t>(random_below(1 << 14) - (1 << 13));
}

template <typename Value>
std::vector<Value> random_values(int64_t count) {
  std::vector<Value> values(count);
  for (Value& value : values) value = random_value<Value>();
  return values;
}

// The same bits, or two NaNs.
template <typename Value>
bool same(Value a, Value b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

class Test {
 public:
  explicit Test(std::vector<Contestant>* contestants)
      : contestants_(*contestants), portable_(bmx::kernels()[0].elementwise) {}

  // Runs `run(elementwise, out)` of the kernels on the same `old` values.
  template <typename Value, typename Function>
  void check(const std::string& name, const std::vector<Value>& old, const Function& run) {
    std::vector<Value> expected = old;
    announce("portable", name);
    run(portable_, expected.data());
    compare(name, old, expected, run);
  }

  template <typename Value, typename Function>
  void compare(const std::string& name, const std::vector<Value>& old, const std::vector<Value>& expected,
               const Function& run) {
    const int64_t count = static_cast<int64_t>(old.size());
    for (Contestant& contestant : contestants_) {
      if (!contestant.failure.empty()) continue;
      announce(contestant.kernel->name, name);
      Guarded<Value> found(count, any_side());
      std::memcpy(found.data(), old.data(), count * sizeof(Value));
      run(contestant.kernel->elementwise, found.data());
      if (!found.intact_around()) contestant.failure = name + ": writes outside of its output";
      for (int64_t i = 0; i < count && contestant.failure.empty(); ++i) {
        if (same(found[i], expected[i])) continue;
        contestant.failure = name + ": value " + std::to_string(i) + ": expected " + std::to_string(expected[i]) +
                             ", got " + std::to_string(found[i]);
      }
      ++contestant.elementwise;
    }
  }

 private:
  std::vector<Contestant>& contestants_;
  const Elementwise& portable_;
};

// Values of `pixels` pixels of `channels` channels.
int64_t extent(int64_t pixels, int64_t channels, int64_t stride) { return (pixels - 1) * stride + channels; }

std::string sizes(const char* name, int64_t pixels, int64_t channels) {
  return std::string(name) + ", pixels " + std::to_string(pixels) + ", channels " + std::to_string(channels);
}

void run_steps(const Elementwise& own, const std::vector<bmx::TileStep>& steps, int64_t pixels, const float* from,
               int64_t from_stride, float* to, int64_t stride) {
  own.tile_steps(steps.data(), static_cast<int64_t>(steps.size()), pixels, from, from_stride, to, stride);
}

void run_steps(const Elementwise& own, const std::vector<bmx::TileStep>& steps, int64_t pixels, const int32_t* from,
               int64_t from_stride, float* to, int64_t stride) {
  own.dot_steps(steps.data(), static_cast<int64_t>(steps.size()), pixels, from, from_stride, to, stride);
}

// One value, as MXNet computes it.
float step(bmx::Step::Kind kind, float x, const float* values, int64_t stride) {
  switch (kind) {
    case bmx::Step::kMultiply: return x * values[0];
    case bmx::Step::kAdd:
    case bmx::Step::kPlus: return x + values[0];
    case bmx::Step::kNormalize: {
      const float difference = x - values[0], product = difference * values[stride];
      return product + values[2 * stride];
    }
    case bmx::Step::kRectify: return x <= 0.0f ? 0.0f : x;
    case bmx::Step::kParametricRectify: {
      const float below = x > 0 ? 0.0f : x, product = below * values[0];
      return (x > 0 ? x : 0.0f) + product;
    }
  }
  return x;
}

// Some steps after each other, on floats and on dots, elsewhere and in place.
template <typename Value>
void test_tile_steps(Test* test, int64_t pixels, bool in_place) {
  const int64_t from_stride = kLanes + random_below(20), stride = in_place ? from_stride : kLanes + random_below(20);
  const int64_t count = random_below(5), values_stride = kLanes + random_below(9);
  const std::vector<Value> source = random_values<Value>(extent(pixels, kLanes, from_stride));
  const Guarded<Value> from(source, any_side());
  const Guarded<float> lanes(random_values<float>(extent(std::max<int64_t>(3, pixels), kLanes, values_stride)),
                             any_side());
  std::vector<bmx::TileStep> steps;
  for (int64_t i = 0; i < count; ++i) {
    steps.push_back({static_cast<bmx::Step::Kind>(random_below(bmx::Step::kPlus + 1)), lanes.data(), values_stride});
  }
  std::vector<float> old = random_values<float>(extent(pixels, kLanes, stride));
  if (in_place) std::copy(source.begin(), source.end(), old.begin());
  std::vector<float> expected = old;
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) {
      float x = static_cast<float>(source[p * from_stride + c]);
      for (const bmx::TileStep& each : steps) {
        const bool plus = each.kind == bmx::Step::kPlus;
        x = step(each.kind, x, lanes.data() + (plus ? p * values_stride : 0) + c, values_stride);
      }
      expected[p * stride + c] = x;
    }
  }
  test->compare(sizes("steps of a tile", pixels, kLanes), old, expected, [&](const Elementwise& own, float* x) {
    run_steps(own, steps, pixels, in_place ? reinterpret_cast<const Value*>(x) : from.data(), from_stride, x, stride);
  });
}

void test_steps(Test* test, int64_t pixels) {
  for (int i = 0; i < 4; ++i) {
    test_tile_steps<float>(test, pixels, i % 2);
    test_tile_steps<int32_t>(test, pixels, false);
  }
  for (int kind = 0; kind < bmx::Step::kPlus; ++kind) {
    const std::string name = "step " + std::to_string(kind);
    bmx::Step step = {};
    step.kind = static_cast<bmx::Step::Kind>(kind);
    const int64_t rows = step.value_count();
    const Guarded<float> plane(random_values<float>(rows), any_side());
    test->check(sizes((name + " of a plane").c_str(), pixels, 1), random_values<float>(pixels),
                [&](const Elementwise& own, float* x) { own.plane_steps[kind](plane.data(), pixels, x); });
  }
  const Guarded<float> addend(random_values<float>(pixels), any_side());
  test->check(sizes("plus_plane", pixels, 1), random_values<float>(pixels),
              [&](const Elementwise& own, float* x) { own.plus_plane(addend.data(), pixels, x); });
}

void test_conversions(Test* test, int64_t pixels, int64_t channels) {
  const int64_t stride = std::max(kLanes, channels) + random_below(9), to_stride = stride + random_below(9);
  const Guarded<int16_t> shorts(random_values<int16_t>(pixels * stride), any_side());
  const Guarded<int32_t> dots(random_values<int32_t>(pixels * stride), any_side());
  const Guarded<float> inner(random_values<float>(pixels * stride), any_side());
  const Guarded<float> scales(random_values<float>(channels), any_side());
  std::vector<int32_t> small(extent(pixels, channels, stride)), sums(channels);  // sums do not overflow
  for (auto* values : {&small, &sums}) {
    for (int32_t& value : *values) value = static_cast<int32_t>(random_below(1 << 26)) - (1 << 25);
  }
  const Guarded<int32_t> added(sums, any_side()), smaller(small, any_side());
  const std::vector<float> lanes(extent(pixels, kLanes, to_stride));
  test->check(sizes("widen", pixels, kLanes), lanes,
              [&](const Elementwise& own, float* to) { own.widen(shorts.data(), stride, pixels, to, to_stride); });
  for (const bool first : {false, true}) {
    for (const int32_t* ones : {static_cast<const int32_t*>(nullptr), added.data()}) {
      test->check(sizes("add_term", pixels, channels), random_values<float>(extent(pixels, channels, stride)),
                  [&](const Elementwise& own, float* sums) {
                    own.add_term(ones ? smaller.data() : dots.data(), ones, 0.1f, first, pixels, channels, sums,
                                 stride);
                  });
    }
    test->check(sizes("add_plane", pixels, channels), random_values<float>(extent(pixels, channels, stride)),
                [&](const Elementwise& own, float* sums) {
                  own.add_plane(inner.data(), scales.data(), first, pixels, channels, sums, stride);
                });
  }
  test->check(sizes("count_ones", pixels, channels), small,
              [&](const Elementwise& own, int32_t* to) { own.count_ones(added.data(), pixels, channels, to, stride); });
  const std::vector<int16_t> narrowed = random_values<int16_t>(extent(pixels, channels, to_stride));
  test->check(sizes("narrow", pixels, channels), narrowed, [&](const Elementwise& own, int16_t* to) {
    own.narrow(dots.data(), stride, channels, pixels, to, to_stride);
  });
  test->check(sizes("narrow_sum", pixels, channels), narrowed, [&](const Elementwise& own, int16_t* to) {
    own.narrow_sum(dots.data(), stride, shorts.data(), stride, channels, pixels, to, to_stride);
  });
  test->check(sizes("narrow_sum in place", pixels, channels), narrowed, [&](const Elementwise& own, int16_t* to) {
    own.narrow_sum(dots.data(), stride, to, to_stride, channels, pixels, to, to_stride);
  });
  test->check(sizes("plus_shorts", pixels, channels), random_values<int32_t>(extent(pixels, channels, to_stride)),
              [&](const Elementwise& own, int32_t* x) {
                own.plus_shorts(shorts.data(), stride, channels, pixels, x, to_stride);
              });
}

// Rows of an output: pieces that follow each other.
void test_rows(Test* test, int64_t channels) {
  std::vector<bmx::RowPiece> pieces;
  int64_t pixel = 0;
  for (int64_t at = random_below(3); at < bmx::kPositions;) {
    const int64_t pixels = 1 + random_below(bmx::kPositions - at);
    pieces.push_back({at, pixel, pixels});
    pixel += pixels;
    at += pixels + 1 + random_below(4);
  }
  const int64_t to_stride = pixel + random_below(5);
  const Guarded<int16_t> dots(random_values<int16_t>(channels * bmx::kPositions + 8), any_side());
  test->check(sizes("widen_rows", pixel, channels), random_values<float>(extent(channels, pixel, to_stride)),
              [&](const Elementwise& own, float* to) {
                own.widen_rows(dots.data(), bmx::kPositions, channels, pieces.data(),
                               static_cast<int64_t>(pieces.size()), to, to_stride);
              });
}

void test_copies(Test* test, int64_t rows, int64_t columns) {
  const int64_t from_stride = columns + random_below(9), to_stride = rows + random_below(9);
  const Guarded<float> floats(random_values<float>(extent(rows, columns, from_stride)), any_side());
  test->check(sizes("transpose", rows, columns), random_values<float>(extent(columns, rows, to_stride)),
              [&](const Elementwise& own, float* to) {
                own.transpose(floats.data(), from_stride, rows, columns, to, to_stride);
              });
  const int64_t all_rows = bmx::round_up(rows, 8), all_columns = bmx::round_up(columns, 8);
  const Guarded<int16_t> shorts(random_values<int16_t>(all_rows * all_columns), any_side());
  test->check(sizes("transpose_shorts", rows, columns), random_values<int32_t>(all_rows * all_columns),
              [&](const Elementwise& own, int32_t* to) {
                own.transpose_shorts(shorts.data(), all_columns, rows, columns, to, all_rows);
              });
  for (const int64_t step : {1, 2, 3}) {
    const Guarded<float> from(random_values<float>((columns - 1) * step + 1), any_side());
    test->check(sizes("copy_every", columns, step), random_values<float>(columns),
                [&](const Elementwise& own, float* to) { own.copy_every(from.data(), step, columns, to); });
  }
}

void test_limits(Test* test, int64_t channels) {
  std::vector<float> thresholds = random_values<float>(channels), directions;
  for (int64_t c = 0; c < channels; ++c) {
    if (random_word() % 2) thresholds[c] = static_cast<float>(random_below(1 << 17) - (1 << 16)) / 2;
    directions.push_back(random_word() % 2 ? 1.0f : -1.0f);
  }
  const Guarded<float> t(thresholds, any_side()), d(directions, any_side());
  std::unique_ptr<bool[]> flip(new bool[channels]);
  const std::vector<float> floats(channels);
  const std::vector<int16_t> shorts(channels);
  test->check(sizes("limit_floats", channels, 1), floats, [&](const Elementwise& own, float* to) {
    own.limit_floats(t.data(), d.data(), channels, to, flip.get());
  });
  test->check(sizes("limit_shorts", channels, 1), shorts, [&](const Elementwise& own, int16_t* to) {
    own.limit_shorts(t.data(), d.data(), channels, to, flip.get());
  });
  test->check(sizes("flips of floats", channels, 1), floats, [&](const Elementwise& own, float* to) {
    std::vector<float> limits(channels);
    own.limit_floats(t.data(), d.data(), channels, limits.data(), flip.get());
    std::copy_n(flip.get(), channels, to);
  });
  test->check(sizes("flips of shorts", channels, 1), shorts, [&](const Elementwise& own, int16_t* to) {
    std::vector<int16_t> limits(channels);
    own.limit_shorts(t.data(), d.data(), channels, limits.data(), flip.get());
    std::copy_n(flip.get(), channels, to);
  });
}

void test_pools(Test* test, int64_t pixels) {
  const int64_t size = 1 + random_below(4), step = 1 + random_below(3), first = random_below(size);
  const int64_t inputs = 1 + random_below(pixels * step + 2);
  const int64_t stride = kLanes + random_below(20);
  const Guarded<float> from(random_values<float>(extent(inputs, kLanes, stride)), any_side());
  for (const auto member : {&Elementwise::largest, &Elementwise::sum}) {
    test->check(sizes("pool", pixels, kLanes), random_values<float>(pixels * kLanes),
                [&](const Elementwise& own, float* to) {
                  (own.*member)(from.data(), stride, first, inputs, size, step, pixels, to);
                });
  }
}

void test_residuals(Test* test, int64_t pixels) {
  const int64_t stride = bmx::kResidualBlock * (1 + random_below(3));
  const float alpha = sometimes(4) ? 0.0f : 0.3f;
  const std::vector<float> old = random_values<float>(extent(pixels, bmx::kResidualBlock, stride));
  const std::vector<double> old_sums(bmx::kResidualBlock, 0.7);
  test->check(sizes("subtract_and_add_up, values", pixels, stride), old, [&](const Elementwise& own, float* values) {
    std::vector<double> sums = old_sums;
    own.subtract_and_add_up(alpha, pixels, stride, values, sums.data());
  });
  test->check(sizes("subtract_and_add_up, sums", pixels, stride), old_sums, [&](const Elementwise& own, double* sums) {
    std::vector<float> values = old;
    own.subtract_and_add_up(alpha, pixels, stride, values.data(), sums);
  });
}

// As elementwise_loops.h says.
template <typename Value>
Value add_up_products(const Value* x, const Value* gradient, bool below, int64_t length) {
  const int64_t count = 64 / sizeof(Value), whole = length / count * count;
  std::vector<Value> sums(count);
  const auto product = [&](int64_t i) { return (below && x[i] > 0 ? Value{0} : x[i]) * gradient[i]; };
  for (int64_t i = 0; i < whole; ++i) sums[i % count] += product(i);
  for (int64_t half = count / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  for (int64_t i = whole; i < length; ++i) sums[0] += product(i);
  return sums[0];
}

template <typename Value>
void test_products_of(Test* test, int64_t length, bmx::ChannelProducts<Value> Elementwise::*member) {
  const Guarded<Value> x(random_values<Value>(length), any_side()), gradient(random_values<Value>(length), any_side());
  const Value by = random_value<Value>();
  test->check(sizes("multiply", length, 1), std::vector<Value>(length),
              [&](const Elementwise& own, Value* out) { (own.*member).multiply(x.data(), by, length, out); });
  test->check(sizes("multiply_below", length, 1), std::vector<Value>(length), [&](const Elementwise& own, Value* out) {
    (own.*member).multiply_below(x.data(), gradient.data(), by, length, out);
  });
  std::vector<Value> finite(length);
  for (Value& value : finite) value = static_cast<Value>(random_below(1 << 24) - (1 << 23)) / (1 << 20);
  const Guarded<Value> factors(finite, any_side());
  for (const bool below : {false, true}) {
    for (const Value* other : {gradient.data(), factors.data()}) {
      const std::vector<Value> expected = {add_up_products(factors.data(), other, below, length)};
      test->compare(sizes("sum_products", length, 1), {0}, expected, [&](const Elementwise& own, Value* out) {
        *out = (own.*member).sum_products(factors.data(), other, below, length);
      });
    }
  }
}

}  // namespace

void test_elementwise(std::vector<Contestant>* contestants, int64_t thinning) {
  Test test(contestants);
  for (int64_t size = 1; size <= 70; ++size) {
    if (random_below(thinning)) continue;
    test_steps(&test, size);
    test_limits(&test, size);
    test_pools(&test, size);
    test_residuals(&test, size);
    test_rows(&test, size);
    test_products_of<float>(&test, 3 * size, &Elementwise::floats);
    test_products_of<double>(&test, 3 * size, &Elementwise::doubles);
    for (int64_t channels = 1; channels <= 70; channels += 1 + random_below(9)) {
      test_conversions(&test, size, channels);
      test_copies(&test, size, channels);
    }
  }
}
