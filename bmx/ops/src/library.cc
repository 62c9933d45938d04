// What the library shows to its loaders: MXNet's entry point, and the kernel table to ctypes.
#include <mxnet/lib_api.h>

#include "kernels.h"
#include "last_error.h"
#include "report.h"

mxnet::ext::MXReturnValue initialize(int version) {
  return bmx::guarded("bmx", [version] {
    // major * 10000 + minor * 100 + patch
    if (version / 100 != 109) bmx::fail("needs MXNet 1.9, this is version number ", version);
  });
}

namespace bmx {

std::string& last_error() {
  thread_local std::string text;
  return text;
}

}  // namespace bmx

extern "C" {

// Name of kernel `index` of the table; null past its end.
const char* bmx_kernel_name(int index) {
  return index >= 0 && index < static_cast<int>(bmx::kernels().size()) ? bmx::kernels()[index].name : nullptr;
}

// Name of the kernel in use; null where there is none, see bmx_last_error.
const char* bmx_current_kernel() {
  return bmx::value_or<const char*>(nullptr, [] { return bmx::current_kernel().name; });
}

// Puts a kernel in use; its name, or null where it is unknown or the CPU does not support it.
const char* bmx_use_kernel(const char* name) {
  return bmx::value_or<const char*>(nullptr, [name] {
    bmx::use_kernel(name);
    return bmx::current_kernel().name;
  });
}

const char* bmx_last_error() { return bmx::last_error().c_str(); }

}  // extern "C"
