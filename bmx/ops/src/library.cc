// What the library shows to its loaders: MXNet's entry point, and the kernel table to ctypes.
#include <mxnet/lib_api.h>

#include "kernels.h"
#include "report.h"

mxnet::ext::MXReturnValue initialize(int version) {
  return bmx::guarded("bmx", [version] {
    // major * 10000 + minor * 100 + patch
    if (version / 100 != 109) bmx::fail("needs MXNet 1.9, this is version number ", version);
  });
}

namespace {

thread_local std::string last_error;

template <typename Function>
const char* text_or_null(const Function& function) {
  try {
    return function();
  } catch (const std::exception& error) {
    last_error = error.what();
    return nullptr;
  }
}

}  // namespace

extern "C" {

// Name of kernel `index` of the table; null past its end.
const char* bmx_kernel_name(int index) {
  return index >= 0 && index < static_cast<int>(bmx::kernels().size()) ? bmx::kernels()[index].name : nullptr;
}

// Name of the kernel in use; null where there is none, see bmx_last_error.
const char* bmx_current_kernel() {
  return text_or_null([] { return bmx::current_kernel().name; });
}

// Puts a kernel in use; its name, or null where it is unknown or the CPU does not support it.
const char* bmx_use_kernel(const char* name) {
  return text_or_null([name] {
    bmx::use_kernel(name);
    return bmx::current_kernel().name;
  });
}

const char* bmx_last_error() { return last_error.c_str(); }

}  // extern "C"
