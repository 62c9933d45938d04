// Float convolution, and the elementwise steps around it; a dense layer is one whose window is the image.
//
// An output is one chain of fused multiply-adds in float32, the same for every kernel and number of threads: beginning
// with +0, for each channel of its group, row and column of the window: sum = fma(input, weight, sum). A padded tap
// counts as an input of +0.
#ifndef BMX_FLOAT_CONVOLUTION_H_
#define BMX_FLOAT_CONVOLUTION_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "float_weights.h"
#include "kernels.h"
#include "planes.h"
#include "task.h"
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
  FloatWeights weights() const { return {groups, group_filters(), depth()}; }
  int64_t lanes() const { return weights().lanes(); }
  int64_t blocks() const { return weights().blocks(); }
  // Memory that a thread works in.
  int64_t thread_bytes() const;
};

// What a thread computes at once reads a strip of the padded input: a rectangle of outputs, for each channel of a group
// as many planes as the strides make. Plane (i, j) has every stride-th row and column, from row_phases[i] and
// column_phases[j] on, so that adjacent outputs read adjacent values; an output that is `pitch` further on is the one
// below. Where rows end with padding, that of the next row begins there.
struct Strip {
  int64_t rows, columns;  // of the largest rectangle
  int64_t piece_rows;     // so many of them are multiplied, and finished, at once
  std::vector<int64_t> row_phases, column_phases;
  Size reach;                     // rows and columns that a plane has more than the rectangle
  int64_t pitch, plane, channel;  // values from a row, plane, channel to the next
  int64_t values;

  explicit Strip(const FloatConvolution& conv);
  // Adjacent outputs of a rectangle, those between its rows included.
  int64_t outputs(int64_t of_rows, int64_t of_columns) const { return (of_rows - 1) * pitch + of_columns; }
  // Where the values of every tap begin, in the order of the sum.
  std::vector<int64_t> offsets(const FloatConvolution& conv) const;

 private:
  int64_t best_piece() const;
  void set_planes(const FloatConvolution& conv);
};

class FloatConvolutionTask : public Task {
 public:
  // Parameters: the weights(). `before` are steps on the input, `steps` on the result. `out` holds
  // floats; nothing of `in` may lie in it, but what `steps` add may.
  FloatConvolutionTask(const FloatConvolution& conv, const Binding& binding);

  void run(int64_t image) const override;

 private:
  struct Unit;  // a rectangle of outputs and some blocks of a group's filters, which a thread computes at once
  struct Span;

  void compute(const Unit& unit) const;
  void read(const Unit& unit, float* strip, float* buffer) const;
  std::vector<Span> spans(const Unit& unit) const;
  void read_source(const Unit& unit, const std::vector<Span>& spans, const Slice& source, int64_t channel, float* strip,
                   float* buffer) const;
  void multiply_pixels(const Unit& unit, const float* strip, float* sums) const;
  void multiply_filters(const Unit& unit, const float* strip, float* sums) const;

  FloatConvolution conv_;
  Strip strip_;
  bool few_pixels_;
  std::vector<Slice> in_;
  std::vector<Step> before_, steps_;
  const float* weight_;
  Slice out_;
  const Kernel& kernel_;
  char* threads_;
  int64_t thread_bytes_;
  std::vector<int64_t> inputs_, weights_;  // offsets of the values of each k
};

}  // namespace bmx

#endif  // BMX_FLOAT_CONVOLUTION_H_
