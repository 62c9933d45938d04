// Bands of rows. Where every row of a result depends on rows of its own alone, as of a convolution with a window of one
// pixel, a chain of instructions can compute the top of the image first, then what is below: what one instruction hands
// to the next stays in the cache, and what only they read takes the memory of a band.
#ifndef BMX_BANDS_H_
#define BMX_BANDS_H_

#include <cstdint>
#include <memory>
#include <vector>

namespace bmx {

struct Plan;

// Instructions [begin, end) of a plan that run band by band.
struct Bands {
  size_t begin, end;
  int64_t count;                                      // in an image
  std::vector<std::shared_ptr<const void>> problems;  // the instructions', of one band
  std::vector<int64_t> local;                         // slots that hold one band at a time

  bool holds(size_t instruction) const { return begin <= instruction && instruction < end; }
  bool is_local(int64_t slot) const;
};

// Pieces of an image are at most so many.
constexpr int64_t kMostPieces = 256;

// When instructions run piece by piece of an image.
struct CacheLimits {
  int64_t least = 1 << 20;   // bytes that one instruction hands to another; for fewer it is not worth the while
  int64_t most = 384 << 10;  // bytes of a piece: they stay in L2
};

// All of a plan, in its order. A piece is all that the instructions of a band read and write.
std::vector<Bands> find_bands(const Plan& plan, const CacheLimits& limits);

}  // namespace bmx

#endif  // BMX_BANDS_H_
