// Speed of the kernels themselves, on one thread.
#ifndef BMX_MEASURE_H_
#define BMX_MEASURE_H_

#include <cstdint>

#include "kernels.h"

namespace bmx {

// Multiply-accumulates a second of the instructions that bound a kernel.
double measure_bound(const Kernel& kernel);

// Seconds for the product alone, without packing and epilogue, of an image padded by half of the convolution's kernel:
// the shortest of the runs that fit into `budget` seconds, at least three.
double measure_product(const Kernel& kernel, int64_t height, int64_t width, int64_t channels, int64_t filters,
                       int64_t kernel_height, int64_t kernel_width, int64_t stride, double budget);

}  // namespace bmx

#endif  // BMX_MEASURE_H_
