// Float convolution, and the elementwise steps around it; a dense layer is one whose kernel is the image.
//
// An output is one chain of fused multiply-adds in float32, the same for every kernel and number of threads: beginning
// with +0, for each channel of its group, row and column of the window: sum = fma(input, weight, sum). A padded tap
// counts as an input of +0.
#ifndef BMX_FLOAT_CONVOLUTION_H_
#define BMX_FLOAT_CONVOLUTION_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "kernels.h"
#include "tile.h"

namespace bmx {

struct FloatConvolution {
  Size image;
  Window window;
  int64_t channels, filters, groups;

  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  Size out() const { return window.out(image); }
  // Multiply-adds of an output.
  int64_t depth() const { return group_channels() * window.taps(); }
  // (groups, blocks, depth, lanes): filter o of a group is lane o % lanes of block o / lanes; lanes are the least power
  // of two that holds the filters of a group, at most 16. Lanes beyond the last filter are 0.
  std::vector<int64_t> weight_shape() const;
  // Memory that a thread works in.
  int64_t thread_bytes() const;
};

class FloatConvolutionTask {
 public:
  // `before` are steps on the input, `steps` on the result. `weight` is as weight_shape() tells. `threads`: the
  // threads' memory, 64-byte aligned. `out` holds floats; nothing of `in` may lie in it, but what `steps` add may.
  FloatConvolutionTask(const FloatConvolution& conv, const std::vector<Slice>& in, const std::vector<Step>& before,
                       const float* weight, const std::vector<Step>& steps, const Slice& out, const Kernel& kernel,
                       char* threads);

  // Computes an image; all threads of a team call it.
  void run(int64_t image) const;
};

}  // namespace bmx

#endif  // BMX_FLOAT_CONVOLUTION_H_
