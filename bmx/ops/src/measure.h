// Speed of the kernels themselves, on one thread.
#ifndef BMX_MEASURE_H_
#define BMX_MEASURE_H_

#include <cstdint>

#include "feature.h"
#include "kernels.h"

namespace bmx {

// Results a second of a loop, which is given its number of iterations and returns its number of results.
double measure_loop(int64_t (*loop)(int64_t iterations));

// Seconds for the product alone, without packing and epilogue, of an image padded by half of the window:
// the shortest of the runs that fit into `budget` seconds, at least three.
double measure_product(const Kernel& kernel, Size image, int64_t channels, int64_t filters, Size window, double budget);

// Seconds for a float convolution of an image, planar as its result and padded by half of the window, on one thread:
// the shortest as above.
double measure_float_product(const Kernel& kernel, Size image, int64_t channels, int64_t filters, int64_t groups,
                             Size window, int64_t stride, double budget);

}  // namespace bmx

#endif  // BMX_MEASURE_H_
