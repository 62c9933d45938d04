// Several binarizations of the features of a convolution: E_1 = x, H_i = sign(E_i), alpha_i = mean |E_i| over the
// image, E_(i+1) = E_i - alpha_i H_i. The means are added up as op_residual_binarize.cc says.
#ifndef BMX_RESIDUAL_H_
#define BMX_RESIDUAL_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "kernels.h"
#include "packing.h"

namespace bmx {

constexpr int64_t kMaxBinarizations = kMaxPlanes;

class ResidualPacker : public PlaneSource {
 public:
  // Of memory that it works in, which is 64-byte aligned.
  static int64_t bytes(const Input& input);

  // `in`: what is concatenated.
  ResidualPacker(const Input& input, const std::vector<Slice>& in, int64_t binarizations, const Kernel& kernel,
                 char* memory);

  // Each term is a plane.
  void run(int64_t image, uint64_t* words) const override;

  // alpha of each term of the last image.
  const float* scales() const { return scales_; }

 private:
  void load_values(int64_t image, int64_t pixel, int64_t pixels, int64_t begin, int64_t end) const;
  void next_term(int64_t image, int64_t term) const;

  Input input_;
  std::vector<Slice> in_;
  int64_t binarizations_;
  const Kernel& kernel_;
  int64_t stride_;  // values of a pixel, a whole number of blocks
  // in the memory
  float* scales_;
  double* sums_;   // of each channel's magnitudes
  float* values_;  // E_i, a pixel's channels adjacent
  Packer packer_;
};

}  // namespace bmx

#endif  // BMX_RESIDUAL_H_
