// The choice of a kernel.
#include <atomic>
#include <cstdlib>

#include "error.h"
#include "kernels.h"

namespace bmx {
namespace {

std::atomic<const Kernel*> in_use{nullptr};

}  // namespace

const Kernel& find_kernel(const std::string& name) {
  std::string valid;
  for (const Kernel& kernel : kernels()) {
    if (!kernel.supported()) continue;
    if (kernel.name == name) return kernel;
    valid += std::string(valid.empty() ? "" : ", ") + kernel.name;
  }
  fail("no kernel '", name, "' for this CPU (BMX_ISA); valid names: ", valid);
}

const Kernel& current_kernel() {
  const Kernel* kernel = in_use.load();
  if (!kernel) {
    const char* forced = std::getenv("BMX_ISA");
    if (forced) {
      kernel = &find_kernel(forced);
    } else {
      for (const Kernel& candidate : kernels()) {
        if (candidate.supported()) kernel = &candidate;
      }
    }
    in_use.store(kernel);
  }
  return *kernel;
}

void use_kernel(const std::string& name) { in_use.store(&find_kernel(name)); }

}  // namespace bmx
