// Of the seam between the operators and the code of one instruction set (kernels.h) what is no product: work on single
// values.
#ifndef BMX_ELEMENTWISE_H_
#define BMX_ELEMENTWISE_H_

#include <cstdint>

#include "feature.h"

namespace bmx {

// Channels of a pixel that are worked on at once.
constexpr int64_t kLanes = 16;

// One elementwise step. `values` are the parameter's: one a channel, or a single one for all.
struct Step {
  enum Kind {
    kMultiply,
    kAdd,
    kNormalize,  // (x - mean) * scale + beta, each operation rounded; values (3, channels)
    kRectify,
    kParametricRectify,
    kPlus,  // another feature map
  };
  Kind kind;
  const float* values;
  int64_t channels;  // of the feature map
  bool single;       // is there one value for all channels?
  Slice addend;

  // Of a channel.
  int64_t value_count() const { return kind == kRectify || kind == kPlus ? 0 : kind == kNormalize ? 3 : 1; }
};
constexpr int64_t kMaxStepValues = 3;

// A step on kLanes channels: value i of channel c is values[i * stride + c], of kPlus that of pixel i.
struct TileStep {
  Step::Kind kind;
  const float* values;
  int64_t stride;
};

// Adjacent pixels of an output, `pixel` the first, whose dots begin at `from`.
struct RowPiece {
  int64_t from, pixel, pixels;
};

// Sums of magnitudes are added up for so many channels at once: enough not to wait for each addition.
constexpr int64_t kResidualBlock = 32;

// Products with one value for all, `length` values long.
template <typename Value>
struct ChannelProducts {
  // out = x * by
  void (*multiply)(const Value* x, Value by, int64_t length, Value* out);
  // out = factor where x is positive, else factor * by
  void (*multiply_below)(const Value* x, const Value* factor, Value by, int64_t length, Value* out);
  // The sum of x * gradient; `below`: where x is not positive. Its order is that of elementwise_loops.h.
  Value (*sum_products)(const Value* x, const Value* gradient, bool below, int64_t length);
};

// Value c of pixel p is at [p * stride + c]. Where the number of channels is no argument it is kLanes.
struct Elementwise {
  // Steps, one after the other, on values of pixels; `to` may be `from` or what is added.
  void (*tile_steps)(const TileStep* steps, int64_t count, int64_t pixels, const float* from, int64_t from_stride,
                     float* to, int64_t stride);
  void (*dot_steps)(const TileStep* steps, int64_t count, int64_t pixels, const int32_t* from, int64_t from_stride,
                    float* to, int64_t stride);
  // Every kind of step but kPlus, and kPlus, on adjacent values of one channel.
  void (*plane_steps[Step::kPlus])(const float* values, int64_t count, float* x);
  void (*plus_plane)(const float* addend, int64_t count, float* x);

  void (*widen)(const int16_t* from, int64_t from_stride, int64_t pixels, float* to, int64_t stride);
  // As tile.h's add_term, add_plane, count_ones, store_rows and, without and with a last addend, which `to` may be,
  // store_sums.
  void (*add_term)(const int32_t* dots, const int32_t* ones, float scale, bool first, int64_t pixels, int64_t channels,
                   float* sums, int64_t stride);
  void (*add_plane)(const float* inner, const float* scales, bool first, int64_t pixels, int64_t channels, float* sums,
                    int64_t stride);
  void (*count_ones)(const int32_t* ones, int64_t pixels, int64_t channels, int32_t* dots, int64_t stride);
  void (*widen_rows)(const int16_t* dots, int64_t stride, int64_t channels, const RowPiece* pieces, int64_t count,
                     float* to, int64_t to_stride);
  void (*narrow)(const int32_t* from, int64_t from_stride, int64_t channels, int64_t pixels, int16_t* to,
                 int64_t stride);
  void (*narrow_sum)(const int32_t* from, int64_t from_stride, const int16_t* addend, int64_t addend_stride,
                     int64_t channels, int64_t pixels, int16_t* to, int64_t stride);
  void (*plus_shorts)(const int16_t* addend, int64_t addend_stride, int64_t channels, int64_t pixels, int32_t* x,
                      int64_t stride);

  // As tile.h's gather, of either kind. The pixels of `to` are adjacent.
  void (*largest)(const float* from, int64_t from_stride, int64_t first, int64_t from_pixels, int64_t size,
                  int64_t step, int64_t pixels, float* to);
  void (*sum)(const float* from, int64_t from_stride, int64_t first, int64_t from_pixels, int64_t size, int64_t step,
              int64_t pixels, float* to);

  // Every `step`th value.
  void (*copy_every)(const float* from, int64_t step, int64_t count, float* to);
  // to[j * to_stride + i] = from[i * from_stride + j] for 0 <= i < rows, 0 <= j < columns.
  void (*transpose)(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to,
                    int64_t to_stride);
  // The same in blocks of 8 x 8: rows and columns are rounded up to multiples of 8, both in what is read and in what is
  // written.
  void (*transpose_shorts)(const int16_t* from, int64_t from_stride, int64_t rows, int64_t columns, int32_t* to,
                           int64_t to_stride);

  // Thresholds t and directions d of a sign, as packing.h has them, as `binarize_floats` and `binarize_shorts` take
  // them: `flip` for each channel.
  void (*limit_floats)(const float* t, const float* d, int64_t channels, float* threshold, bool* flip);
  void (*limit_shorts)(const float* t, const float* d, int64_t channels, int16_t* threshold, bool* flip);

  // E - alpha sign(E) in the place of E, and its magnitudes added to the sums of kResidualBlock channels, pixel by
  // pixel. With an alpha of 0 the values stay.
  void (*subtract_and_add_up)(float alpha, int64_t pixels, int64_t stride, float* values, double* sums);

  ChannelProducts<float> floats;
  ChannelProducts<double> doubles;
};

}  // namespace bmx

#endif  // BMX_ELEMENTWISE_H_
