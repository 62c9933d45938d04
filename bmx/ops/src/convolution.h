// Binary convolution of features with packed weights, and the elementwise steps behind it; a dense layer is one with
// 1x1 window. Activations and weights may have several planes of bits, each with a scale: the result is, for each
// filter o, the sum of b[i][o] * (the sum of a[j] * D[i][j][o] over the planes j of activations) over the planes i of
// weights, D being the binary products. In float32 each product and each sum is rounded, in the order of j and of i,
// the first term of a sum being its beginning.
#ifndef BMX_CONVOLUTION_H_
#define BMX_CONVOLUTION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "feature.h"
#include "kernels.h"
#include "packing.h"
#include "residual.h"
#include "task.h"
#include "tile.h"

namespace bmx {

struct Convolution {
  Size image;
  Window window;
  int64_t channels, filters, groups;
  int pad_value;              // -1, +1, or 0: padded taps do not count
  int64_t binarizations = 1;  // above 1: planes of signs, whose scales are those of the image (residual.h)
  bool interleaved = false;   // the parameter, in whole blocks of kFilterTile filters
  int64_t planes = 1;         // of the activations, by thresholds
  bool counted = false;       // Packer's counter
  bool zero_one = false;      // bits of activations count 1 or 0, not +1 or -1
  int64_t weight_planes = 1;
  // Which of the task's parameters they are, or -1.
  int threshold = -1, scales = -1, weight_scales = -1;

  int64_t activation_planes() const { return planes * binarizations; }
  int64_t products() const { return activation_planes() * weight_planes; }
  // Is the result a sum of floats, not one binary product?
  bool is_scaled() const { return products() > 1 || scales >= 0 || weight_scales >= 0; }
  int64_t all_filters() const { return weight_planes * filters; }
  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  Size out() const { return window.out(image); }
  Input input() const { return {image, window.pad, channels, groups, pad_value}; }
  // Words in the reduction.
  int64_t depth() const { return window.taps() * words_for(group_channels()); }
};

Memory convolution_memory(const Convolution& conv, const Kernel& kernel);

// Sums of the weights, (taps, weight_planes, filters), where padding does not count: what a padded tap, counted as -1,
// has to be given back. Else empty.
std::vector<int32_t> padding_sums(const Convolution& conv, const uint8_t* weight);

// Takes the padded taps out of the dots of a plane of weights.
void discount_padding(const Convolution& conv, const std::vector<int32_t>& sums, int64_t plane, const Dots& dots);

// Applies the steps to the dots of up to kPixelTile pixels, which have stride kFilterTile, and stores them.
void finish(const Kernel& kernel, Dots dots, const std::vector<Step>& steps, const Slice& out);

class ConvolutionTask : public Task {
 public:
  // Parameters: weights (weight_planes * filters, window height, window width, ceil(group_channels / 8)), least
  // significant bit first, or interleaved (weight_planes * filters / kFilterTile, depth, kFilterTile, 8), unused bits
  // 0; thresholds as Packer takes them; scales (planes), else 2^j; weight_scales (weight_planes, filters), else 2^i.
  ConvolutionTask(const Convolution& conv, const Binding& binding);

  void run(int64_t image) const override;

 private:
  struct Unit;  // output pixels and filters that a thread computes at once

  void prepare_weights() const;
  void add_up_weights() const;
  Product product(int64_t block, int64_t filters) const;
  void compute(const Unit& unit) const;
  void finish_sums(const Unit& unit, float* sums) const;

  Convolution conv_;
  const Kernel& kernel_;
  std::unique_ptr<const PlaneSource> source_;
  const float* scales_;               // of the planes of activations
  std::vector<float> weight_scales_;  // (weight_planes, filters), or none
  const uint8_t* weight_;             // the parameter
  std::vector<Step> steps_;
  Slice out_;
  uint64_t* activations_;
  const char* weights_;  // blocks as the kernel reads them, the parameter's or
  char* kept_;
  char* threads_;
  int64_t blocks_;        // of filters, in a group
  int32_t* window_sums_;  // of weights, where bits of activations count 1 or 0: kFilterTile for each block
  std::vector<int64_t> taps_;
  std::vector<int32_t> padding_sums_;
};

}  // namespace bmx

#endif  // BMX_CONVOLUTION_H_
