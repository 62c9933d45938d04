// Float weights of codes of few bits, each of which stands for one of few levels. A layer whose weights have few
// values, but whose input is float, is stored so.
#ifndef BMX_EXPANSION_H_
#define BMX_EXPANSION_H_

#include <cstdint>
#include <vector>

#include "attributes.h"
#include "float_weights.h"

namespace bmx {

class Expansion {
 public:
  // Attributes `shape` of the weights, filters first, `bits` of a code and `groups`. Throws Error where they cannot be.
  explicit Expansion(const Attributes& attributes);

  // Values of the weights themselves.
  int64_t size() const { return size_; }
  // The shape as it is or, with groups, (groups, blocks, depth, lanes) as FloatWeights tells.
  std::vector<int64_t> shape() const { return groups_ ? layout().shape() : shape_; }
  // Of the levels: (2^bits, and for each axis of the weights 1 or its size). Throws Error for another one; an axis of 0
  // is not known.
  void check_levels(const std::vector<int64_t>& shape) const;
  // Of the codes, uint8: planes of bits, the least significant one first.
  std::vector<int64_t> codes_shape() const { return {bits_, (size_ + 7) / 8}; }

  // Writes the weights, all of shape(). For the work of a team.
  void run(const float* levels, const std::vector<int64_t>& levels_shape, const uint8_t* codes, float* weights) const;

 private:
  int64_t depth() const { return size_ / shape_[0]; }  // weights of a filter
  FloatWeights layout() const { return {groups_, shape_[0] / groups_, depth()}; }

  std::vector<int64_t> shape_;
  int64_t bits_, groups_, size_ = 1;
};

}  // namespace bmx

#endif  // BMX_EXPANSION_H_
