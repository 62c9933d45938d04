// What the words of all convolutions have in common: a window, and filters in groups.
#ifndef BMX_FILTERS_H_
#define BMX_FILTERS_H_

#include <cstdint>

#include "feature.h"
#include "plan.h"
#include "reader.h"

namespace bmx {

struct Filters {
  Window window;
  int64_t filters = 1, groups = 1;
  bool whole = false;  // a dense layer: the window has to be the image

  void parse(Reader* reader);

  // The input's channels of a group.
  int64_t group_channels(const Inference& inference) const;
  // Size of the result; `values`: of a padded pixel in memory.
  Size out(const Inference& inference, int64_t values) const;
};

}  // namespace bmx

#endif  // BMX_FILTERS_H_
