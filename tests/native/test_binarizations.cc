// Kernel::binarize_floats and Kernel::binarize_shorts against one comparison a value.
#include <cmath>
#include <limits>

#include "guarded.h"
#include "random.h"
#include "tests.h"

namespace {

float random_threshold(float) {
  static const float values[] = {-INFINITY, -2.0f, -1.5f, -1e-40f, -0.0f, 0.0f, 1e-40f, 0.3f, 1.0f, 1e30f, INFINITY};
  return values[random_below(sizeof values / sizeof *values)];
}

int16_t random_threshold(int16_t) {
  static const int16_t values[] = {-32768, -32767, -256, -1, 0, 1, 255, 32766, 32767};
  return values[random_below(sizeof values / sizeof *values)];
}

// On the threshold, next to it, or anywhere.
float random_value(float threshold) {
  switch (random_below(8)) {
    case 0: return std::nextafter(threshold, -INFINITY);
    case 1: return std::nextafter(threshold, INFINITY);
    case 2: return -threshold;  // 0 from -0
    case 3: return NAN;
    case 4: return random_threshold(threshold);
    case 5: return static_cast<float>(random_below(7) - 3);
    default: return threshold;
  }
}

int16_t random_value(int16_t threshold) {
  switch (random_below(6)) {
    case 0: return static_cast<int16_t>(threshold - (threshold > -32768));
    case 1: return static_cast<int16_t>(threshold + (threshold < 32767));
    case 2: return random_threshold(threshold);
    case 3: return static_cast<int16_t>(random_word());
    default: return threshold;
  }
}

template <typename Value>
struct Case {
  int64_t channels, pixels, channel_stride, pixel_stride, out_stride;
  std::vector<Value> data, threshold;
  std::vector<uint32_t> flip, expected;  // (pixels, halves)

  int64_t halves() const { return (channels + 31) / 32; }

  Case(int64_t channel_count, int64_t pixel_count, bool channels_last) : channels(channel_count), pixels(pixel_count) {
    channel_stride = channels_last ? 1 : pixels + random_below(4);
    pixel_stride = channels_last ? channels + random_below(4) : 1;
    out_stride = halves() + random_below(4);
    data.resize((channels - 1) * channel_stride + (pixels - 1) * pixel_stride + 1);
    flip.resize(halves());
    expected.resize(pixels * halves());
    for (Value& value : data) value = random_value(Value{});
    for (int64_t c = 0; c < channels; ++c) {
      threshold.push_back(random_threshold(Value{}));
      const uint32_t inverted = random_word() % 2;
      flip[c / 32] |= inverted << c % 32;
      for (int64_t p = 0; p < pixels; ++p) {
        Value& value = data[p * pixel_stride + c * channel_stride];
        value = random_value(threshold[c]);
        expected[p * halves() + c / 32] |= ((value >= threshold[c] ? 1u : 0u) ^ inverted) << c % 32;
      }
    }
  }

  std::string name() const {
    return std::string(sizeof(Value) == 4 ? "floats" : "shorts") + ", channels " + std::to_string(channels) +
           ", pixels " + std::to_string(pixels) + ", strides " + std::to_string(channel_stride) + " and " +
           std::to_string(pixel_stride);
  }

  // What is wrong with the kernel's result; empty if nothing.
  std::string run(void (*binarize)(const bmx::Binarization<Value>&), Side side) const {
    const Guarded<Value> values(data, side), limits(threshold, side);
    const Guarded<uint32_t> inverted(flip, side);
    Guarded<uint32_t> out((pixels - 1) * out_stride + halves(), side);
    const uint32_t untouched = out[0];
    binarize({values.data(), channel_stride, pixel_stride, channels, pixels, limits.data(), inverted.data(), out.data(),
              out_stride});
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t h = 0; h < halves(); ++h) {
        if (out[p * out_stride + h] != expected[p * halves() + h]) {
          return "pixel " + std::to_string(p) + ", half " + std::to_string(h) + " differs";
        }
      }
      for (int64_t h = halves(); h < out_stride && p + 1 < pixels; ++h) {
        if (out[p * out_stride + h] != untouched) return "it writes between the pixels";
      }
    }
    return out.intact_around() ? "" : "it writes outside of its output";
  }
};

template <typename Value>
void test(const Case<Value>& problem, void (*bmx::Kernel::*binarize)(const bmx::Binarization<Value>&),
          std::vector<Contestant>* contestants) {
  for (Contestant& contestant : *contestants) {
    if (!contestant.failure.empty()) continue;
    announce(contestant.kernel->name, problem.name());
    const Side side = random_word() % 2 ? Side::kFront : Side::kBack;
    const std::string wrong = problem.run(contestant.kernel->*binarize, side);
    if (!wrong.empty()) contestant.failure = problem.name() + ": " + wrong;
    ++contestant.binarizations;
  }
}

}  // namespace

void test_binarizations(std::vector<Contestant>* contestants, int64_t thinning) {
  const int64_t step = 3 * thinning;
  for (int64_t channels = 1; channels <= 130; ++channels) {
    for (int64_t pixels = 1 + channels % step; pixels <= 40; pixels += step) {
      test(Case<float>(channels, pixels, false), &bmx::Kernel::binarize_floats, contestants);
      test(Case<float>(channels, pixels, true), &bmx::Kernel::binarize_floats, contestants);
      test(Case<int16_t>(channels, pixels, true), &bmx::Kernel::binarize_shorts, contestants);
    }
  }
}
