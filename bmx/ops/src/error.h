// What code throws: bmx::Error with one short sentence, and what such sentences are made of.
#ifndef BMX_ERROR_H_
#define BMX_ERROR_H_

#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace bmx {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// There are no more threads.
struct ResourceError : Error {
  using Error::Error;
};

// A sentence put together from its arguments, thrown as Error.
template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream sentence;
  sentence.imbue(std::locale::classic());  // numbers without separators of thousands
  const int in_order[] = {(sentence << parts, 0)...};
  static_cast<void>(in_order);
  throw Error(sentence.str());
}

template <typename Integer>
std::string text(const std::vector<Integer>& values) {
  std::string joined;
  for (Integer value : values) joined += (joined.empty() ? "" : ", ") + std::to_string(value);
  return "(" + joined + ")";
}

}  // namespace bmx

#endif  // BMX_ERROR_H_
