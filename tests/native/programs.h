// Programs, what goes into them and what comes out, by plain loops.
#ifndef BMX_TESTS_PROGRAMS_H_
#define BMX_TESTS_PROGRAMS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "convolution.h"
#include "guarded.h"
#include "kernels.h"
#include "plan.h"
#include "random.h"

using bmx::Size;

// Channels, then rows.
struct Features {
  int64_t channels;
  Size size;
  std::vector<float> values;

  Features(int64_t channel_count, Size of) : channels(channel_count), size(of), values(channel_count * of.pixels()) {}

  float& at(int64_t c, int64_t y, int64_t x) { return values[(c * size.height + y) * size.width + x]; }
  float at(int64_t c, int64_t y, int64_t x) const { return values[(c * size.height + y) * size.width + x]; }
  bool holds(int64_t y, int64_t x) const { return y >= 0 && y < size.height && x >= 0 && x < size.width; }
};

Features slice(const Features& in, int64_t begin, int64_t end);
Features concatenate(const Features& a, const Features& b);
Features add(const Features& a, const Features& b);
Features pool(const Features& in, bmx::Pool kind, const bmx::Window& window, bool count_pad = false);

// Value by value, with the parameter's of its channel.
template <typename Function>
Features by_channel(const Features& in, const Function& function) {
  Features out = in;
  for (size_t i = 0; i < out.values.size(); ++i) {
    out.values[i] = function(in.values[i], static_cast<int64_t>(i) / in.size.pixels());
  }
  return out;
}

// A binary convolution.
struct Convolution {
  int64_t channels, filters, groups;
  bmx::Window window;
  int pad_value;
  int64_t binarizations = 1, planes = 1, weight_planes = 1;
  bool counted = false, zero_one = false;
  bool interleaved = false;                             // in packed()
  std::vector<uint8_t> bits;                            // one a weight, plane after plane
  std::vector<float> threshold, scales, weight_scales;  // or none

  // With random weights and, sometimes, thresholds.
  Convolution(int64_t channel_count, int64_t filter_count, int64_t group_count, const bmx::Window& over);
  // That of a plan, given its packed weights and the floats of its other parameters.
  Convolution(const bmx::Convolution& conv, const std::vector<uint8_t>& packed,
              const std::vector<std::vector<float>>& others);

  // Sometimes gives it several planes, whose sums are not int16.
  void draw_planes();

  std::string options() const;
  std::vector<uint8_t> packed() const;
  Features apply(const Features& in) const;

 private:
  void draw_bits();
  void draw_threshold(int64_t comparisons);
  // Of the comparison.
  bool bit(float value, int64_t c, int64_t comparison) const;
  // Of each activation what its bit of a plane counts.
  Features plane(const Features& in, int64_t plane) const;
  // With a plane of weights.
  Features multiply(const Features& in, int64_t weight_plane) const;
  int64_t packed_bytes() const;
  // Where weight i of `bits` is in packed(): the bit.
  int64_t packed_at(int64_t i) const;
};

// The bytes of a parameter.
typedef std::vector<uint8_t> Bytes;
Bytes bytes_of(const std::vector<float>& values);
std::vector<float> floats_of(const Bytes& bytes);

// A program, its inputs and what comes out.
struct Problem {
  std::string text;
  std::vector<std::vector<Features>> images;  // data inputs of each image
  std::vector<Bytes> parameters;
  std::vector<std::vector<Features>> expected;  // outputs of each image

  std::string parameter(const Bytes& bytes);
  std::string parameter(const std::vector<float>& values) { return parameter(bytes_of(values)); }
  void convolve(const Convolution& conv, const std::string& in, const std::string& out, const std::string& steps = "");

  int64_t num_data() const { return static_cast<int64_t>(images[0].size()); }
  std::vector<bmx::Feature> features() const;  // of the data

  // What is wrong with the program's result; empty if nothing.
  std::string run(const bmx::Kernel& kernel, int threads, Side side) const;
};

// What a plan computes of an image. It is never optimised.
std::vector<Features> interpret(const bmx::Plan& plan, const std::vector<Features>& data,
                                const std::vector<Bytes>& parameters);

// What interpret() takes for an instruction, at most.
struct Cost {
  double work, values;
};
Cost cost_of(const bmx::PlannedInstruction& instruction);

// Halves of integers, both zeros among them.
std::vector<float> random_floats(int64_t count, int64_t range);
// With all bits of a fraction, below 1.
std::vector<float> random_fractions(int64_t count);
std::string text_of(Size size);

template <typename Value>
Value any_of(const std::vector<Value>& values) {
  return values[random_below(static_cast<int64_t>(values.size()))];
}

// One convolution, from floats to floats.
Problem single_convolution();
// A convolution of groups of a few channels; or into a slot of any type, which a map brings to floats.
Problem small_groups();
// Slots of every type, concatenated, sliced, added to in place; pooling and all steps.
Problem chain();

// Instructions that can run band by band, in place and not.
Problem rows_chain();

// Instructions that can run some channels at a time.
Problem parts_chain();

// Float convolutions of data, integers and floats, pooled; into a flat output. Every sum rounds.
Problem float_chain();

#endif  // BMX_TESTS_PROGRAMS_H_
