// The seam between the operator and the code of one instruction set.
//
// A kernel computes binary dot products between packed activations and packed weights. Both are sequences of 64-bit
// words along the reduction (tap by tap, channels innermost); bits beyond the last channel are 0 in both.
#ifndef BMX_KERNELS_H_
#define BMX_KERNELS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace bmx {

// out[o * filter_stride + p * pixel_stride] = bits - 2 * popcount(activation(p) xor weight(o)), for one group of one
// image. Word k of activation(p) is activations[origins[p] + taps[k]].
struct Product {
  const uint64_t* activations;
  const int64_t* origins;    // [pixels]
  const int64_t* taps;       // [depth]
  const uint64_t* weights;   // [ceil(filters / block)][depth][block], missing filters 0; block is the kernel's
  int64_t depth;             // words in the reduction
  int64_t bits;              // binary values in the reduction
  int64_t filters;
  int64_t pixels;
  float* out;
  int64_t filter_stride;
  int64_t pixel_stride;
};

struct Kernel {
  const char* name;
  bool (*supported)();             // can this CPU run it?
  int64_t block;                   // filters interleaved word by word in the weights
  void (*run)(const Product& product);  // single-threaded; the caller splits the pixels among threads
};

// All kernels of this build, the slowest first. Dispatch, tests and benchmarks read this table and no other.
const std::vector<Kernel>& kernels();

// The kernel in use: the last supported one of the table, or the one that BMX_ISA names. Throws Error where BMX_ISA
// names one that is unknown or that this CPU does not support.
const Kernel& current_kernel();

// Puts the kernel `name` in use for the whole process. Throws Error as above.
void use_kernel(const std::string& name);

}  // namespace bmx

#endif  // BMX_KERNELS_H_
