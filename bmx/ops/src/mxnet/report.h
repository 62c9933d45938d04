// Hands errors to MXNet.
#ifndef BMX_REPORT_H_
#define BMX_REPORT_H_

#include <mxnet/lib_api.h>

#include <exception>
#include <new>
#include <string>

#include "error.h"

namespace bmx {

// Makes `sentence` the one message that MXNet shows with the next failure.
void report(const std::string& sentence);

// No exception may cross into libmxnet, which is built by another compiler.
template <typename Function>
mxnet::ext::MXReturnValue guarded(const char* op, const Function& function) {
  try {
    function();
    return mxnet::ext::MX_SUCCESS;
  } catch (const std::bad_alloc&) {
    report(std::string(op) + ": out of memory");
  } catch (const std::exception& error) {
    report(std::string(op) + ": " + error.what());
  }
  return mxnet::ext::MX_FAIL;
}

}  // namespace bmx

#endif  // BMX_REPORT_H_
