#include <cstring>

#include "check.h"
#include "params.h"

namespace bmx {
namespace {

template <typename Integer>
std::string raw(Integer value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

constexpr uint32_t kV1 = 0xF993FAC8, kV2 = 0xF993FAC9, kV3 = 0xF993FACA;

std::string array(const std::vector<int64_t>& shape, int32_t dtype, const std::string& values, uint32_t magic = kV2,
                  int32_t storage = 0) {
  std::string bytes = raw(magic) + (magic == kV1 ? "" : raw(storage)) + raw(static_cast<int32_t>(shape.size()));
  for (int64_t size : shape) bytes += raw(size);
  return bytes + raw(int32_t{1}) + raw(int32_t{0}) + raw(dtype) + values;
}

std::string list(const std::vector<std::string>& arrays, const std::vector<std::string>& names) {
  std::string bytes = raw(uint64_t{0x112}) + raw(uint64_t{0}) + raw(uint64_t{arrays.size()});
  for (const std::string& each : arrays) bytes += each;
  bytes += raw(uint64_t{names.size()});
  for (const std::string& name : names) bytes += raw(uint64_t{name.size()}) + name;
  return bytes;
}

// Of a copy that ends where the file does, so that a sanitizer sees what is read behind it.
std::vector<StoredArray> read(const std::string& bytes) {
  static std::vector<char> copy;
  copy.assign(bytes.begin(), bytes.end());
  copy.shrink_to_fit();
  return read_params(copy.data(), copy.size());
}

TEST(params_read) {
  const auto arrays = read(list(
      {array({2, 3}, kUint8, "abcdef"), array({1}, kFloat32, raw(2.5f), kV3), array({2}, 6, std::string(16, 'x'), kV1)},
      {"arg:a", "aux:b", ""}));
  CHECK_EQUAL(arrays.size(), 3u);
  CHECK_EQUAL(arrays[0].name, "arg:a");
  CHECK((arrays[0].shape == std::vector<int64_t>{2, 3}));
  CHECK_EQUAL(std::string(arrays[0].bytes, arrays[0].size), "abcdef");
  CHECK_EQUAL(arrays[0].dtype, kUint8);
  float value;
  std::memcpy(&value, arrays[1].bytes, sizeof value);
  CHECK_EQUAL(value, 2.5f);
  CHECK_EQUAL(arrays[1].size, 4u);
  CHECK_EQUAL(std::string(dtype_name(arrays[2].dtype)), "int64");
  CHECK_EQUAL(std::string(dtype_name(99)), "unknown");
  CHECK(read(list({}, {})).empty());
}

TEST(params_damaged) {
  const std::string one = array({2}, kUint8, "ab");
  CHECK_ERROR(read(""), "does not begin as a list");
  CHECK_ERROR(read("{}"), "does not begin as a list");
  CHECK_ERROR(read(std::string(100, 'x')), "does not begin as a list");
  CHECK_ERROR(read(list({one}, {})), "it has 1 arrays and 0 names");
  CHECK_ERROR(read(list({one}, {"a", "b"})), "it has 1 arrays and 2 names");
  CHECK_ERROR(read(list({one}, {"a"}) + "!"), "1 bytes follow");
  CHECK_ERROR(read(list({array({2}, kUint8, "ab", 0x12345678)}, {"a"})),
              "array 0 of 1: it does not begin as arrays do");
  CHECK_ERROR(read(list({one, array({2}, kUint8, "ab", kV2, 1)}, {"a", "b"})), "array 1 of 2: it is sparse");
  CHECK_ERROR(read(list({array({}, kUint8, "a")}, {"a"})), "it has no axes");
  CHECK_ERROR(read(list({array({0}, kUint8, "")}, {"a"})), "it has no values");
  CHECK_ERROR(read(list({array({-1, 5}, kUint8, "")}, {"a"})), "it has no values");
  CHECK_ERROR(read(list({array({1}, 13, "aaaa")}, {"a"})), "unknown type 13");
  CHECK_ERROR(read(list({array({1}, -1, "aaaa")}, {"a"})), "unknown type -1");
  CHECK_ERROR(read(list({array({int64_t{1} << 62}, kFloat32, "aaaa")}, {"a"})), "it ends too early");
  CHECK_ERROR(read(list({array({int64_t{1} << 32, int64_t{1} << 32}, kUint8, "aaaa")}, {"a"})), "it ends too early");
  const std::string whole = list({one, array({3}, kFloat32, std::string(12, 'f'))}, {"arg:one", "aux:two"});
  for (size_t size = 0; size < whole.size(); ++size) CHECK_ERROR(read(whole.substr(0, size)), "it");
  // sizes and counts that cannot be, wherever they are
  for (size_t place = 0; place + 8 <= whole.size(); ++place) {
    for (uint64_t value : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 31, uint64_t{0xFFFFFFFF}}) {
      std::string changed = whole;
      std::memcpy(&changed[place], &value, sizeof value);
      try {
        read(changed);
      } catch (const std::runtime_error&) {
      }
    }
  }
}

}  // namespace
}  // namespace bmx
