// How functions of the C interface report failures.
#ifndef BMX_LAST_ERROR_H_
#define BMX_LAST_ERROR_H_

#include <exception>
#include <string>

namespace bmx {

// What bmx_last_error returns in this thread.
std::string& last_error();

// The function's value, or `failed` where it throws: then last_error says why.
template <typename Value, typename Function>
Value value_or(Value failed, const Function& function) {
  try {
    return function();
  } catch (const std::exception& error) {
    last_error() = error.what();
    return failed;
  }
}

}  // namespace bmx

#endif  // BMX_LAST_ERROR_H_
