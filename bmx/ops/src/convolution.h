// Binary convolution of features with packed weights, and the elementwise steps behind it; a dense layer is one with
// 1x1 window. With several binarizations the result is the sum of alpha_i times the product of the signs H_i
// (residual.h).
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
  int pad_value;  // -1, +1, or 0: padded taps do not count
  int64_t binarizations = 1;
  bool interleaved = false;  // the parameter, in whole blocks of kFilterTile filters

  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  Size out() const { return window.out(image); }
  Input input() const { return {image, window.pad, channels, groups, pad_value}; }
  // Words in the reduction.
  int64_t depth() const { return window.taps() * words_for(group_channels()); }
};

Memory convolution_memory(const Convolution& conv, const Kernel& kernel);

// Sums of the weights, (taps, filters), where padding does not count: what a padded tap, counted as -1, has to be given
// back. Else empty.
std::vector<int32_t> padding_sums(const Convolution& conv, const uint8_t* weight);

// Takes the padded taps out of the dots.
void discount_padding(const Convolution& conv, const std::vector<int32_t>& sums, const Dots& dots);

// Applies the steps to the dots of up to kPixelTile pixels, which have stride kFilterTile, and stores them.
void finish(const Kernel& kernel, Dots dots, const std::vector<Step>& steps, const Slice& out);

class ConvolutionTask : public Task {
 public:
  // Parameters: weights (filters, window height, window width, ceil(group_channels / 8)), least significant bit first,
  // or interleaved (filters / kFilterTile, depth, kFilterTile, 8), unused bits 0; none or, of one binarization,
  // thresholds (2, channels) as Packer takes them.
  ConvolutionTask(const Convolution& conv, const Binding& binding);

  void run(int64_t image) const override;

 private:
  struct Unit;  // output pixels and filters that a thread computes at once

  void prepare_weights() const;
  void compute(const Unit& unit) const;
  void finish_sums(const Unit& unit, float* sums) const;

  Convolution conv_;
  const Kernel& kernel_;
  Packer packer_;
  std::unique_ptr<ResidualPacker> residual_;  // in its place, of several binarizations
  const uint8_t* weight_;                     // the parameter
  std::vector<Step> steps_;
  Slice out_;
  uint64_t* activations_;
  const char* weights_;  // blocks as the kernel reads them, the parameter's or
  char* kept_;
  char* threads_;
  int64_t blocks_;  // of filters, in a group
  std::vector<int64_t> taps_;
  std::vector<int32_t> sums_;
};

}  // namespace bmx

#endif  // BMX_CONVOLUTION_H_
