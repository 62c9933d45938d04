// Of groups with few channels and filters both gradients are sums over adjacent pixels, without look-ups.
#include <algorithm>

#include "gradients.h"

namespace bmx {
namespace {

constexpr int64_t kFloat = sizeof(float);

float sign(float value) { return value >= 0 ? 1.0f : -1.0f; }

}  // namespace

SmallGradients::SmallGradients(const GradientProblem& problem) : problem_(problem) {
  const Window& window = problem.window;
  const Size image = problem.image, pad = window.pad, stride = window.stride, reach = window.reach();
  first_ = {floor_div(pad.height - (reach.height - 1), stride.height),
            floor_div(pad.width - (reach.width - 1), stride.width)};
  read_ = {(image.height - 1 + pad.height) / stride.height - first_.height + 1,
           (image.width - 1 + pad.width) / stride.width - first_.width + 1};
  const Size padded = window.padded(image);
  plane_ = {ceil_div(padded.height, stride.height), ceil_div(padded.width, stride.width)};
}

bool SmallGradients::suits(const GradientProblem& problem) {
  return problem.planar && problem.group_channels() * problem.group_filters() <= kMostPairs;
}

int64_t SmallGradients::thread_bytes() const {
  const int64_t channels = problem_.group_channels(), filters = problem_.group_filters();
  const int64_t weights = channels * filters * problem_.window.taps();
  const int64_t of_data = (filters + channels) * round_up(read_.pixels() + kFloatLanes, kFloatLanes);
  const int64_t of_weight =
      channels * problem_.window.stride.pixels() * plane_.pixels() + filters * problem_.out().height * plane_.width;
  return weights * 2 * kFloat + std::max(of_data, of_weight) * kFloat;
}

int64_t SmallGradients::tasks() const { return problem_.groups * (problem_.images + 1); }

void SmallGradients::compute(int64_t task, const GradientArrays& arrays, const Kernel& kernel, char* own) const {
  float* memory = reinterpret_cast<float*>(own);
  if (task < problem_.groups) return add_up_weights(task, arrays, kernel, memory);
  task -= problem_.groups;
  add_up_data(task / problem_.groups, task % problem_.groups, arrays, kernel, memory);
}

// For each phase of the pixels: a product of the weights with the planes of gradients, which zeros surround.
void SmallGradients::add_up_data(int64_t image, int64_t group, const GradientArrays& arrays, const Kernel& kernel,
                                 float* memory) const {
  const Window& window = problem_.window;
  const Size size = problem_.image, pad = window.pad, stride = window.stride, out = problem_.out();
  const int64_t channels = problem_.group_channels(), filters = problem_.group_filters(), taps = window.taps();
  const int64_t most = round_up(read_.pixels() + kFloatLanes, kFloatLanes);
  float *weights = memory, *gradients = weights + 2 * channels * filters * taps, *sums = gradients + filters * most;
  std::fill_n(gradients, filters * most, 0.0f);
  const int64_t left = std::max<int64_t>(0, first_.width), right = std::min(out.width, first_.width + read_.width);
  for (int64_t f = 0; f < filters; ++f) {
    const float* from = arrays.gradient + (image * problem_.filters + group * filters + f) * out.pixels();
    for (int64_t y = 0; y < read_.height; ++y) {
      const int64_t row = first_.height + y;
      if (row < 0 || row >= out.height || left >= right) continue;
      std::copy(from + row * out.width + left, from + row * out.width + right,
                gradients + f * most + y * read_.width + left - first_.width);
    }
  }
  std::vector<int64_t> row_offsets, column_offsets;
  for (int64_t py = 0; py < stride.height; ++py) {
    for (int64_t px = 0; px < stride.width; ++px) {
      const int64_t top = first_pixel(py, pad.height, stride.height);
      const int64_t begin = first_pixel(px, pad.width, stride.width);
      if (top >= size.height || begin >= size.width) continue;
      const int64_t rows = ceil_div(size.height - top, stride.height);
      const int64_t columns = ceil_div(size.width - begin, stride.width);
      row_offsets.clear();
      column_offsets.clear();
      float* weight = weights;
      for (int64_t f = 0; f < filters; ++f) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t y = tap / window.size.width * window.dilate.height;
          const int64_t x = tap % window.size.width * window.dilate.width;
          if (y % stride.height != py || x % stride.width != px) continue;
          row_offsets.push_back(weight - weights);
          column_offsets.push_back(f * most + ((top + pad.height - y) / stride.height - first_.height) * read_.width +
                                   (begin + pad.width - x) / stride.width - first_.width);
          const float* of = arrays.weight + (group * filters + f) * channels * taps + tap;
          for (int64_t c = 0; c < channels; ++c) *weight++ = sign(of[c * taps]);
        }
      }
      const int64_t count = round_up((rows - 1) * read_.width + columns, kFloatLanes);
      if (row_offsets.empty()) std::fill_n(sums, channels * count, 0.0f);
      else {
        kernel.multiply_floats({weights, row_offsets.data(), channels, gradients, column_offsets.data(), kFloatLanes,
                                count, static_cast<int64_t>(row_offsets.size()), sums, count});
      }
      for (int64_t c = 0; c < channels; ++c) {
        float* to = arrays.data_gradient + (image * problem_.channels + group * channels + c) * size.pixels();
        for (int64_t y = 0; y < rows; ++y) {
          const float* from = sums + c * count + y * read_.width;
          float* row = to + (top + y * stride.height) * size.width + begin;
          for (int64_t x = 0; x < columns; ++x) row[x * stride.width] = from[x];
        }
      }
    }
  }
}

// For each tap: the sum of products of two planes. Of gradients, the rows end with zeros, so that all are one.
void SmallGradients::add_up_weights(int64_t group, const GradientArrays& arrays, const Kernel& kernel,
                                    float* memory) const {
  const Window& window = problem_.window;
  const Size size = problem_.image, pad = window.pad, stride = window.stride, out = problem_.out();
  const int64_t channels = problem_.group_channels(), filters = problem_.group_filters(), taps = window.taps();
  const int64_t plane = plane_.pixels(), channel = stride.pixels() * plane;
  double* totals = reinterpret_cast<double*>(memory);
  float *signs = memory + 2 * channels * filters * taps, *gradients = signs + channels * channel;
  std::fill_n(totals, filters * channels * taps, 0.0);
  std::fill_n(signs, channels * channel, static_cast<float>(problem_.pad_value));
  std::fill_n(gradients, filters * out.height * plane_.width, 0.0f);
  for (int64_t image = 0; image < problem_.images; ++image) {
    for (int64_t c = 0; c < channels; ++c) {
      const float* from = arrays.data + (image * problem_.channels + group * channels + c) * size.pixels();
      for (int64_t y = 0; y < size.height; ++y) {
        const int64_t row = y + pad.height;
        float* to =
            signs + c * channel + row % stride.height * stride.width * plane + row / stride.height * plane_.width;
        for (int64_t phase = 0; phase < stride.width; ++phase) {
          const int64_t begin = first_pixel(phase, pad.width, stride.width);
          if (begin >= size.width) continue;
          const int64_t count = ceil_div(size.width - begin, stride.width);
          float* of_phase = to + phase * plane + (begin + pad.width) / stride.width;
          kernel.elementwise.copy_every(from + y * size.width + begin, stride.width, count, of_phase);
          for (int64_t x = 0; x < count; ++x) of_phase[x] = sign(of_phase[x]);
        }
      }
    }
    for (int64_t f = 0; f < filters; ++f) {
      const float* from = arrays.gradient + (image * problem_.filters + group * filters + f) * out.pixels();
      float* to = gradients + f * out.height * plane_.width;
      for (int64_t y = 0; y < out.height; ++y) std::copy_n(from + y * out.width, out.width, to + y * plane_.width);
    }
    double* total = totals;
    for (int64_t f = 0; f < filters; ++f) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t y = tap / window.size.width * window.dilate.height;
          const int64_t x = tap % window.size.width * window.dilate.width;
          const float* from = signs + c * channel + (y % stride.height * stride.width + x % stride.width) * plane +
                              y / stride.height * plane_.width + x / stride.width;
          *total++ += kernel.elementwise.floats.sum_products(from, gradients + f * out.height * plane_.width, false,
                                                             (out.height - 1) * plane_.width + out.width);
        }
      }
    }
  }
  std::copy_n(totals, filters * channels * taps, arrays.weight_gradient + group * filters * channels * taps);
}

}  // namespace bmx
