// Parts of channels. Where only the next instruction reads a result, and channel by channel, as the pooling behind a
// stem does, some channels at a time are computed and handed over: they stay in the cache, and take the memory of a
// part.
#ifndef BMX_PARTS_H_
#define BMX_PARTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "bands.h"

namespace bmx {

struct Plan;

// The problem of one of the parts that an instruction's result is cut into.
struct Part {
  std::shared_ptr<const void> problem;  // null: it cannot be cut
  bool cuts_input;                      // reads as small a part of its input, else all of it
};

// Instructions [begin, begin + 2) of a plan that run part by part.
struct Parts {
  size_t begin;
  int64_t count;  // in an image
  Part producer, consumer;

  const Part& of(size_t instruction) const { return instruction == begin ? producer : consumer; }
};

// All of a plan whose bands are known, in its order; what runs band by band does not run part by part. A piece is what
// is handed over.
std::vector<Parts> find_parts(const Plan& plan, const CacheLimits& limits);

}  // namespace bmx

#endif  // BMX_PARTS_H_
