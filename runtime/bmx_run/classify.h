// From scores to the likeliest classes.
#ifndef BMX_RUN_CLASSIFY_H_
#define BMX_RUN_CLASSIFY_H_

#include <cstddef>
#include <vector>

namespace bmx_run {

struct Guess {
  size_t index;  // of the class
  double probability;
};

// The softmax of scores, in float32, and of it the `count` greatest, of equals the first.
std::vector<Guess> likeliest(const std::vector<float>& scores, size_t count);

}  // namespace bmx_run

#endif  // BMX_RUN_CLASSIFY_H_
