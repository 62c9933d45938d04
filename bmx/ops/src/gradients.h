// Gradients of a convolution of signs with signs. Both are sums of output gradients with signs, four at a look-up
// (sign_sums.h), in an order that depends on the shapes alone.
#ifndef BMX_GRADIENTS_H_
#define BMX_GRADIENTS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "feature.h"
#include "kernels.h"
#include "team.h"

namespace bmx {

struct GradientProblem {
  int64_t images;
  Size image;
  Window window;
  int64_t channels, filters, groups;
  int pad_value;  // -1, +1, or 0: padded taps do not count
  bool planar;    // is a channel's pixels what is adjacent in an image, or a pixel's channels?

  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  Size out() const { return window.out(image); }
};

struct GradientArrays {
  const float *data, *weight;  // what is not negative is +1, all else -1
  const float* gradient;       // of the result
  float *data_gradient, *weight_gradient;
};

// Asks for the memory of adjacent values that are read soon: those of the planes of a batch are not next to each other.
inline void prefetch(const float* values, int64_t count) {
  constexpr int64_t kLine = 16;
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(values + i);
}

inline int64_t floor_div(int64_t value, int64_t by) { return value >= 0 ? value / by : -ceil_div(-value, by); }

// A phase is every stride-th pixel of a padded axis. The first of its pixels behind `pad` of the others.
inline int64_t first_pixel(int64_t phase, int64_t pad, int64_t stride) {
  return (phase - pad % stride + stride) % stride;
}

// How the channels of a group lie in indices and sums: in chunks, whose lanes are a multiple of kFloatLanes.
struct Chunks {
  int64_t channels, lanes, count;

  explicit Chunks(int64_t channels);
  int64_t all_lanes() const { return count * lanes; }
  int64_t in(int64_t chunk) const { return std::min(lanes, channels - chunk * lanes); }  // channels
  // Columns to compute of a chunk.
  int64_t columns(int64_t chunk) const { return round_up(in(chunk), kFloatLanes); }
};

// What follows has tasks that prepare, then tasks that compute, each in a row of its own, numbered from 0; all threads
// meet in between.

// The gradient of the data: at every pixel the sum, for each kBlockFilters filters of its group, tap of the window and
// four of these filters, of an entry.
class DataGradient {
 public:
  explicit DataGradient(const GradientProblem& problem);

  int64_t shared_bytes() const;  // 64-byte aligned, as that of a thread
  int64_t thread_bytes() const;
  int64_t prepare_tasks() const;
  void prepare(int64_t task, const GradientArrays& arrays, char* shared, char* own) const;
  int64_t tasks() const;
  void compute(int64_t task, const GradientArrays& arrays, const Kernel& kernel, const char* shared, char* own) const;

 private:
  // Pixels whose taps hit outputs: every stride-th row and column.
  struct Phase {
    int64_t row, column;                                      // of the padded image, the first
    std::vector<int64_t> taps;                                // of the window
    std::vector<int64_t> table_offsets[2], index_offsets[2];  // of a whole block of filters, and of the last one
  };
  struct Unit;

  int64_t block_fours(int64_t block) const;  // fours of filters
  int64_t indices_at(int64_t group, int64_t block, int64_t chunk) const;
  void make_tables(const Unit& unit, int64_t block, const GradientArrays& arrays, const Kernel& kernel,
                   float* tables) const;
  void add_up(const Unit& unit, int64_t block, const Kernel& kernel, const uint8_t* indices, const float* tables,
              float* sums) const;
  void store(const Unit& unit, const Kernel& kernel, const float* sums, float* to) const;

  GradientProblem problem_;
  Chunks chunks_;
  int64_t blocks_;  // of filters, in a group
  Size rectangle_;  // of the image, which a thread computes at once
  Size outputs_;    // that it reads
  int64_t pixel_;   // floats of an output's tables
  std::vector<Phase> phases_;
};

// The gradient of the weights: for every tap, filter and channel the sum over the outputs, four of a row at a time. It
// is a chain from the first image to the last, or, of few weights, several sums of some images each, added up in order.
// Of padding that does not count the share, as if it were -1, is added at the end.
class WeightGradient {
 public:
  explicit WeightGradient(const GradientProblem& problem);

  int64_t shared_bytes() const;
  int64_t thread_bytes() const;
  int64_t prepare_tasks() const;
  void prepare(int64_t task, const GradientArrays& arrays, const Kernel& kernel, char* shared, char* own) const;
  int64_t tasks() const;
  void compute(int64_t task, const GradientArrays& arrays, const Kernel& kernel, char* shared, char* own) const;
  int64_t finish_tasks() const { return is_direct() ? 0 : problem_.filters; }
  void finish(int64_t task, const GradientArrays& arrays, const Kernel& kernel, const char* shared, char* own) const;

 private:
  bool is_direct() const;                                                   // do sums lie as the gradient does?
  int64_t plane_bytes() const { return padded_.pixels() * chunks_.lanes; }  // of the indices of a chunk
  int64_t indices_bytes() const;
  void make_tables(int64_t filter, int64_t filters, int64_t begin, int64_t end, const GradientArrays& arrays,
                   const Kernel& kernel, float* tables) const;
  double padding_share(int64_t filter, int64_t tap, const GradientArrays& arrays) const;

  GradientProblem problem_;
  Chunks chunks_;
  Size padded_;
  int64_t row_fours_;  // fours of a row of outputs
  int64_t blocks_;     // of filters, in a group
  int64_t chunk_parts_, image_parts_;
};

// Both gradients of groups with few channels and filters, where look-ups would be mostly empty. That of the data is a
// chain of fused multiply-adds, for each filter and tap of the group; that of a weight is, added up in float64, each
// image's sum of products as elementwise.h has them, of rows that end with zeros.
class SmallGradients {
 public:
  explicit SmallGradients(const GradientProblem& problem);

  static bool suits(const GradientProblem& problem);

  int64_t thread_bytes() const;
  int64_t tasks() const;
  void compute(int64_t task, const GradientArrays& arrays, const Kernel& kernel, char* own) const;

 private:
  static constexpr int64_t kMostPairs = 16;  // of a channel and a filter

  void add_up_data(int64_t image, int64_t group, const GradientArrays& arrays, const Kernel& kernel,
                   float* memory) const;
  void add_up_weights(int64_t group, const GradientArrays& arrays, const Kernel& kernel, float* memory) const;

  GradientProblem problem_;
  Size first_, read_;  // of the outputs that a tap of any pixel hits, be there one or not
  Size plane_;         // of the padded image every stride-th row and column
};

// Both gradients, by a team of threads.
class Gradients {
 public:
  Gradients(const GradientProblem& problem, const Kernel& kernel, Team* team);

  int64_t workspace_bytes() const;
  void run(const GradientArrays& arrays, void* workspace) const;

 private:
  Gradients(const Kernel& kernel, Team* team, const GradientProblem& problem);

  const Kernel& kernel_;
  Team* team_;
  bool is_small_;  // for one thread
  bool has_small_groups_;
  SmallGradients small_;
  DataGradient data_;
  WeightGradient weight_;
  int64_t thread_bytes_;
};

}  // namespace bmx

#endif  // BMX_GRADIENTS_H_
