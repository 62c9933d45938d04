#include "kernels.h"

#include "target.h"

namespace bmx {

// each in its file, kernel_NAME.cc
extern const Kernel kPortable;
#ifdef __x86_64__
extern const Kernel kAvx2;
extern const Kernel kAvx512;
#endif
#ifdef BMX_HAS_AMX
extern const Kernel kAmx;
#endif
#ifdef __aarch64__
extern const Kernel kNeon;
#endif

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> table = {
      kPortable,
#ifdef __x86_64__
      kAvx2,     kAvx512,
#endif
#ifdef BMX_HAS_AMX
      kAmx,
#endif
#ifdef __aarch64__
      kNeon,
#endif
  };
  return table;
}

}  // namespace bmx
