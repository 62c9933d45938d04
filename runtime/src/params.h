// Files of arrays in MXNet's format, PREFIX-0000.params.
#ifndef BMX_PARAMS_H_
#define BMX_PARAMS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bmx {

// MXNet's numbers of the types that programs read.
constexpr int32_t kFloat32 = 0;
constexpr int32_t kUint8 = 3;

// The name of a type, "float32".
const char* dtype_name(int32_t dtype);

// An array that lies in the bytes of a file, at any address.
struct StoredArray {
  std::string name;            // as in the file, with arg: or aux:
  int32_t dtype;               // MXNet's number
  std::vector<int64_t> shape;  // each at least 1
  const char* bytes;
  size_t size;
};

// The arrays of a file, which is read as it is, little-endian. Throws Error for anything but named dense arrays that
// fill the file.
std::vector<StoredArray> read_params(const char* bytes, size_t size);

}  // namespace bmx

#endif  // BMX_PARAMS_H_
