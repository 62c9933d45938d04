// The choice of a kernel.
#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "error.h"
#include "kernels.h"
#include "measure.h"

namespace bmx {
namespace {

std::atomic<const Kernel*> in_use{nullptr};

// The last supported kernel of the table. AMX has a unit of its own, which the other tenants of a host may keep busy;
// then the kernel before it is faster. So these two are timed, in about a millisecond; their results are the same.
const Kernel& choose() {
  const Kernel *last = nullptr, *before = nullptr;
  for (const Kernel& candidate : kernels()) {
    if (!candidate.supported()) continue;
    before = last;
    last = &candidate;
  }
  if (last->name != std::string("amx")) return *last;
  double last_time = 1, before_time = 1;
  for (int round = 0; round < 3; ++round) {
    const auto time = [](const Kernel& kernel) { return measure_product(kernel, {8, 8}, 256, 64, {3, 3}, 5e-5); };
    last_time = std::min(last_time, time(*last));
    before_time = std::min(before_time, time(*before));
  }
  return last_time < before_time ? *last : *before;
}

// The kernel `name`; `origin` says where the name is from.
const Kernel& find(const std::string& name, const char* origin) {
  std::string valid;
  for (const Kernel& kernel : kernels()) {
    if (!kernel.supported()) continue;
    if (kernel.name == name) return kernel;
    valid += std::string(valid.empty() ? "" : ", ") + kernel.name;
  }
  fail("no kernel '", name, "' for this CPU", origin, "; valid names: ", valid);
}

}  // namespace

const Kernel& find_kernel(const std::string& name) { return find(name, ""); }

const Kernel& current_kernel() {
  const Kernel* kernel = in_use.load();
  if (!kernel) {
    const char* forced = std::getenv("BMX_ISA");
    kernel = forced && *forced ? &find(forced, " (BMX_ISA)") : &choose();
    in_use.store(kernel);
  }
  return *kernel;
}

void use_kernel(const std::string& name) { in_use.store(&find_kernel(name)); }

}  // namespace bmx
