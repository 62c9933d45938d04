// The dtypes that operators compute with.
#ifndef BMX_DTYPES_H_
#define BMX_DTYPES_H_

#include <mxnet/lib_api.h>

#include <string>
#include <vector>

#include "error.h"
#include "half.h"

namespace bmx {

struct Dtype {
  int code;  // MXNet's
  const char* name;
};

inline Dtype dtype_of(Half) { return {mxnet::ext::kFloat16, "float16"}; }
inline Dtype dtype_of(float) { return {mxnet::ext::kFloat32, "float32"}; }
inline Dtype dtype_of(double) { return {mxnet::ext::kFloat64, "float64"}; }

constexpr int kUnknownDtype = -1;

// Those of an operator, as C++ types.
template <typename... Values>
struct Dtypes {
  // The dtype where there is only one.
  static int single() { return sizeof...(Values) == 1 ? all()[0].code : kUnknownDtype; }

  // Throws where an input has another.
  static void check(const std::string& input, int code) {
    const std::vector<Dtype> dtypes = all();
    std::string names;
    for (const Dtype& dtype : dtypes) {
      if (dtype.code == code) return;
      names += std::string(names.empty() ? "" : &dtype == &dtypes.back() ? " or " : ", ") + dtype.name;
    }
    fail(input, " must be ", names);
  }

  // Calls run(Value()) of the one type that is it.
  template <typename Run>
  static void dispatch(int code, const Run& run) {
    const int in_order[] = {(dtype_of(Values()).code == code ? run(Values()) : void(), 0)...};
    static_cast<void>(in_order);
  }

 private:
  static std::vector<Dtype> all() { return {dtype_of(Values())...}; }
};

}  // namespace bmx

#endif  // BMX_DTYPES_H_
