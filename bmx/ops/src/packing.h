// From features and packed weights to the 64-bit words that kernels read.
#ifndef BMX_PACKING_H_
#define BMX_PACKING_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "kernels.h"

namespace bmx {

constexpr int64_t kWordBits = 64;
constexpr int64_t kHalf = 32;  // bits in half a word: what kernels write

// Of a pixel's channels in a group.
inline int64_t words_for(int64_t channels) { return ceil_div(channels, kWordBits); }

// Of the channels of a filter's tap in the parameter that holds packed weights.
inline int64_t packed_bytes(int64_t channels) { return ceil_div(channels, 8); }

// What a convolution reads: the concatenated channels of an image in groups, each with its own words, and padding.
struct Input {
  Size image, pad;
  int64_t channels, groups;
  int pad_value;  // 0 is packed as -1

  int64_t group_channels() const { return channels / groups; }
  Size padded() const { return image.padded(pad); }
  int64_t group_words() const { return padded().pixels() * words_for(group_channels()); }
};

constexpr int64_t kMaxPlanes = 8;

// Where the bits of a convolution's activations come from: planes, of which a value has one bit each.
class PlaneSource {
 public:
  virtual ~PlaneSource() = default;

  // Writes all groups of an image, one plane behind the other. All threads of a team call it.
  virtual void run(int64_t image, uint64_t* words) const = 0;
};

// Binarizes the features of a convolution by thresholds.
class Packer : public PlaneSource {
 public:
  // `in`: what is concatenated. `threshold`: null, of one plane, or comparisons (comparisons(), 2, channels), of each
  // thresholds t and directions d; bit c is x >= t[c], or x <= t[c] where d[c] is negative; null means x >= 0. Neither
  // holds where t[c] is NaN. A bit of an x that is NaN is d[c] < 0. A plane is a comparison; `counted`, plane j is bit
  // j of how many of the nested comparisons hold: the exclusive or of every 2^j-th.
  Packer(const Input& input, const std::vector<Slice>& in, const float* threshold, const Kernel& kernel,
         int64_t planes = 1, bool counted = false);

  static int64_t comparisons(int64_t planes, bool counted) { return counted ? (int64_t{1} << planes) - 1 : planes; }

  void run(int64_t image, uint64_t* words) const override;

 private:
  // Channels of one source and one group.
  struct Part {
    Slice source;
    int64_t channel, channels;  // of the source
    int64_t group, bit;
    int64_t first;  // of the convolution's channels, where it begins
    int64_t flip;   // where its bits of flip_ begin, comparison by comparison

    int64_t halves() const { return ceil_div(channels, kHalf); }
  };

  int64_t plane_words() const { return input_.groups * input_.group_words(); }
  void add_parts(const Slice& source, int64_t first, const bool* flip);
  void fill_padding(uint64_t* words) const;
  void pack(const Part& part, int64_t image, int64_t pixel, int64_t pixels, uint64_t* words) const;
  void count(const Part& part, int64_t image, int64_t pixel, int64_t pixels, uint64_t* words) const;
  void shift(const Part& part, const uint32_t* unshifted, int64_t unshifted_stride, int64_t pixels,
             uint32_t* halves) const;
  void binarize(const Part& part, int64_t comparison, int64_t image, int64_t pixel, int64_t pixels, uint32_t* halves,
                int64_t stride) const;

  Input input_;
  const Kernel& kernel_;
  int64_t planes_;
  bool counted_;
  int64_t comparisons_;
  std::vector<Part> parts_;
  std::vector<float> floats_;    // thresholds of all channels, comparison by comparison, of float32 and
  std::vector<int16_t> shorts_;  // of int16 features
  std::vector<uint32_t> flip_;
};

// Interleaves (kernels.h) the weights of `filters` filters, (filters, taps, ceil(channels / 8)) bytes.
void interleave_weights(const uint8_t* weight, int64_t filters, int64_t taps, int64_t channels, uint64_t* words);

// Packs the signs of weights (filters, channels, taps) as (filters, taps, ceil(channels / 8)) bytes. All threads of a
// team call it; they meet at the end.
void pack_weights(const Kernel& kernel, const float* weight, int64_t filters, int64_t taps, int64_t channels,
                  uint8_t* packed);

}  // namespace bmx

#endif  // BMX_PACKING_H_
