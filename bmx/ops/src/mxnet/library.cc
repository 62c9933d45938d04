// What the library shows to its loaders: MXNet's entry point, and the kernel table to ctypes.
#include <mxnet/lib_api.h>

#include "kernels.h"
#include "measure.h"
#include "report.h"

mxnet::ext::MXReturnValue initialize(int version) {
  return bmx::guarded("bmx", [version] {
    // major * 10000 + minor * 100 + patch
    if (version / 100 != 109) bmx::fail("needs MXNet 1.9, this is version number ", version);
  });
}

namespace {

constexpr double kMeasureSeconds = 0.02;  // for the runs of which the shortest counts

thread_local std::string last_error;

// The function's value, or `failed` where it throws.
template <typename Value, typename Function>
Value value_or(Value failed, const Function& function) {
  try {
    return function();
  } catch (const std::exception& error) {
    last_error = error.what();
    return failed;
  }
}

}  // namespace

extern "C" {

// What tells the sources from others, which `bmx/ops/library.py` looks for in the file.
const char* bmx_sources() { return BMX_SOURCES; }

// Name of kernel `index` of the table; null past its end.
const char* bmx_kernel_name(int index) {
  return index >= 0 && index < static_cast<int>(bmx::kernels().size()) ? bmx::kernels()[index].name : nullptr;
}

// Can this CPU run kernel `index` of the table?
bool bmx_kernel_supported(int index) { return bmx_kernel_name(index) && bmx::kernels()[index].supported(); }

// Name of the kernel in use; null where there is none, see bmx_last_error.
const char* bmx_current_kernel() {
  return value_or<const char*>(nullptr, [] { return bmx::current_kernel().name; });
}

// Puts a kernel in use; its name, or null where it is unknown or the CPU does not support it.
const char* bmx_use_kernel(const char* name) {
  return value_or<const char*>(nullptr, [name] {
    bmx::use_kernel(name);
    return bmx::current_kernel().name;
  });
}

// Multiply-accumulates a second that a kernel could do at most on one thread; negative where there is no such kernel or
// this CPU does not support it, see bmx_last_error.
double bmx_measure_bound(const char* name) {
  return value_or(-1.0, [=] { return bmx::measure_loop(bmx::find_kernel(name).bound); });
}

// The same of its float32 multiply-adds.
double bmx_measure_float_bound(const char* name) {
  return value_or(-1.0, [=] { return bmx::measure_loop(bmx::find_kernel(name).float_bound); });
}

// Seconds of a kernel for the product alone of one image, on one thread; negative as above.
double bmx_measure_product(const char* name, int64_t height, int64_t width, int64_t channels, int64_t filters,
                           int64_t window_height, int64_t window_width) {
  return value_or(-1.0, [=] {
    return bmx::measure_product(bmx::find_kernel(name), {height, width}, channels, filters,
                                {window_height, window_width}, kMeasureSeconds);
  });
}

// Seconds of a kernel for a float convolution of one image, on one thread; negative as above.
double bmx_measure_float_product(const char* name, int64_t height, int64_t width, int64_t channels, int64_t filters,
                                 int64_t groups, int64_t window_height, int64_t window_width, int64_t stride) {
  return value_or(-1.0, [=] {
    return bmx::measure_float_product(bmx::find_kernel(name), {height, width}, channels, filters, groups,
                                      {window_height, window_width}, stride, kMeasureSeconds);
  });
}

const char* bmx_last_error() { return last_error.c_str(); }

}  // extern "C"
