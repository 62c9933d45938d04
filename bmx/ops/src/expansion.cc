#include "expansion.h"

#include <algorithm>
#include <climits>

#include "error.h"
#include "team.h"

namespace bmx {
namespace {

constexpr int64_t kMaxBits = 8;

}  // namespace

Expansion::Expansion(const Attributes& attributes)
    : shape_(get_tuple(attributes, "shape")),
      bits_(get_int(attributes, "bits", 1)),
      groups_(get_int(attributes, "groups", 0)) {
  check_names(attributes, {"shape", "bits", "groups"});
  if (shape_.size() < 2 || shape_.size() > 5) fail("shape must have 2 to 5 dimensions, got ", text(shape_));
  for (int64_t length : shape_) {
    check_range("a dimension of shape", length, 1);
    size_ *= length;
    if (size_ > INT_MAX / kFloatLanes) fail("weights of shape ", text(shape_), " are too many");  // lanes are filled up
  }
  if (bits_ < 1 || bits_ > kMaxBits) fail("bits must be between 1 and ", kMaxBits, ", got ", bits_);
  if (groups_ < 0 || (groups_ && shape_[0] % groups_)) {
    fail("groups must be 0 or divide the ", shape_[0], " filters, got ", groups_);
  }
}

void Expansion::check_levels(const std::vector<int64_t>& shape) const {
  bool fits = shape.size() == shape_.size() + 1;
  for (size_t i = 0; fits && i < shape.size(); ++i) {
    const int64_t most = i ? shape_[i - 1] : int64_t{1} << bits_;
    fits = shape[i] == 0 || shape[i] == most || (i && shape[i] == 1);
  }
  if (!fits) {
    fail("levels must have shape (", 1 << bits_, ") and then 1 or the size of each of ", text(shape_), ", got ",
         text(shape));
  }
}

void Expansion::run(const float* levels, const std::vector<int64_t>& levels_shape, const uint8_t* codes,
                    float* weights) const {
  // How far the level of the next index along each axis is: 0 where all have the same.
  std::vector<int64_t> steps(shape_.size());
  int64_t columns = 1;
  for (size_t axis = shape_.size(); axis-- > 0;) {
    steps[axis] = levels_shape[axis + 1] > 1 ? columns : 0;
    columns *= levels_shape[axis + 1];
  }
  std::vector<int64_t> column(depth());  // of each weight of filter 0
  for (int64_t k = 0; k < depth(); ++k) {
    int64_t rest = k;
    for (size_t axis = shape_.size(); axis-- > 1; rest /= shape_[axis]) column[k] += rest % shape_[axis] * steps[axis];
  }
  const int64_t plane = codes_shape()[1];
  const bool plain = groups_ == 0;
  const FloatWeights layout = plain ? FloatWeights{1, 1, depth()} : this->layout();
  const int64_t all = layout.groups * layout.blocks() * layout.depth * layout.lanes();
  // lanes beyond the last filter
  if (!plain && member() == 0) std::fill_n(weights, all, 0.0f);
  meet();
  split(shape_[0], [&](int64_t filter) {
    float* to = weights + (plain ? filter * depth() : layout.begin(filter));
    const float* own = levels + filter * steps[0];
    for (int64_t k = 0; k < depth(); ++k, to += layout.lanes()) {
      const int64_t i = filter * depth() + k;
      int64_t code = 0;
      for (int64_t bit = 0; bit < bits_; ++bit) code |= int64_t{codes[bit * plane + i / 8] >> i % 8 & 1} << bit;
      *to = own[code * columns + column[k]];
    }
  });
}

}  // namespace bmx
