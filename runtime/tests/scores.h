// Digests of what a model computes, to compare CPUs with one another: two that print the same have computed the same
// bits.
#ifndef BMX_TESTS_SCORES_H_
#define BMX_TESTS_SCORES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "bmx.hpp"
#include "sha256.h"

namespace bmx {
namespace test {

// Value i of a batch, between -1 and 1: of h = i * 2654435761, g = (h xor h >> 15) * 2246822519, modulo 2^32, the upper
// 24 bits, divided by 2^23, less 1. A batch begins with the images of a smaller one.
inline std::vector<float> hashed(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits = static_cast<uint32_t>(i) * 2654435761u;
    bits = (bits ^ bits >> 15) * 2246822519u;
    values[i] = static_cast<float>(bits >> 8) / (1 << 23) - 1;
  }
  return values;
}

// Of each image the digest of its outputs, one behind the other: SHA-256 of the float32 values as memory holds them.
inline std::vector<std::string> digests(Session* session, Shape input, int64_t images) {
  input[0] = images;
  size_t count = 1;
  for (int64_t size : input) count *= static_cast<size_t>(size);
  const std::vector<std::vector<float>> outputs = session->run(hashed(count), input);
  std::vector<std::string> all;
  for (int64_t image = 0; image < images; ++image) {
    std::string bytes;
    for (const std::vector<float>& output : outputs) {
      const size_t size = output.size() / static_cast<size_t>(images) * sizeof(float);
      bytes.append(reinterpret_cast<const char*>(output.data()) + static_cast<size_t>(image) * size, size);
    }
    all.push_back(sha256(bytes.data(), bytes.size()));
  }
  return all;
}

}  // namespace test
}  // namespace bmx

#endif  // BMX_TESTS_SCORES_H_
