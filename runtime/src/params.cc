#include "params.h"

#include <cstring>

#include "error.h"

namespace bmx {
namespace {

constexpr uint64_t kListMagic = 0x112;
// How an array begins: V1 is of MXNet before 1.0, V3 of arrays as in NumPy, which may have no axes.
constexpr uint32_t kMagicV1 = 0xF993FAC8, kMagicV2 = 0xF993FAC9, kMagicV3 = 0xF993FACA;

// By MXNet's numbers.
const struct {
  const char* name;
  size_t size;
} kTypes[] = {{"float32", 4}, {"float64", 8}, {"float16", 2}, {"uint8", 1}, {"int32", 4},
              {"int8", 1},    {"int64", 8},   {"bool", 1},    {"int16", 2}, {"uint16", 2},
              {"uint32", 4},  {"uint64", 8},  {"bfloat16", 2}};

bool is_type(int32_t dtype) { return dtype >= 0 && static_cast<size_t>(dtype) < sizeof kTypes / sizeof *kTypes; }

class Bytes {
 public:
  Bytes(const char* bytes, size_t size) : at_(bytes), left_(size) {}

  size_t left() const { return left_; }

  const char* take(uint64_t size) {
    if (size > left_) fail("it ends too early");
    const char* taken = at_;
    at_ += size;
    left_ -= size;
    return taken;
  }

  template <typename Integer>
  Integer take() {
    Integer value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }

 private:
  const char* at_;
  size_t left_;
};

StoredArray read_array(Bytes* file) {
  const uint32_t magic = file->take<uint32_t>();
  if (magic != kMagicV1 && magic != kMagicV2 && magic != kMagicV3) fail("it does not begin as arrays do");
  if (magic != kMagicV1 && file->take<int32_t>() != 0) fail("it is sparse");
  const int32_t axes = file->take<int32_t>();
  if (axes < 1) fail("it has no axes");
  if (static_cast<uint64_t>(axes) > file->left() / sizeof(int64_t)) fail("it ends too early");
  StoredArray array;
  for (int32_t axis = 0; axis < axes; ++axis) array.shape.push_back(file->take<int64_t>());
  file->take(2 * sizeof(int32_t));  // the device that it was on
  array.dtype = file->take<int32_t>();
  if (!is_type(array.dtype)) fail("it is of the unknown type ", array.dtype);
  const size_t most = file->left() / kTypes[array.dtype].size;
  size_t values = 1;
  for (int64_t length : array.shape) {
    if (length < 1) fail("it has no values");
    if (static_cast<uint64_t>(length) > most / values) fail("it ends too early");
    values *= length;
  }
  array.size = values * kTypes[array.dtype].size;
  array.bytes = file->take(array.size);
  return array;
}

}  // namespace

const char* dtype_name(int32_t dtype) { return is_type(dtype) ? kTypes[dtype].name : "unknown"; }

std::vector<StoredArray> read_params(const char* bytes, size_t size) {
  Bytes file(bytes, size);
  if (size < 3 * sizeof(uint64_t) || file.take<uint64_t>() != kListMagic) fail("it does not begin as a list of arrays");
  file.take<uint64_t>();  // reserved
  const uint64_t count = file.take<uint64_t>();
  std::vector<StoredArray> arrays;
  while (arrays.size() < count) {  // which is not to be trusted: each takes what there is of the file
    try {
      arrays.push_back(read_array(&file));
    } catch (const Error& error) {
      fail("array ", arrays.size(), " of ", count, ": ", error.what());
    }
  }
  const uint64_t names = file.take<uint64_t>();
  if (names != count) fail("it has ", count, " arrays and ", names, " names");
  for (StoredArray& array : arrays) {
    const uint64_t length = file.take<uint64_t>();
    array.name.assign(file.take(length), length);
  }
  if (file.left()) fail(file.left(), " bytes follow its last name");
  return arrays;
}

}  // namespace bmx
