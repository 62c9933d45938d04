// The two files of a model in memory, to be changed, for tests and fuzzing.
#ifndef BMX_TESTS_PAIRS_H_
#define BMX_TESTS_PAIRS_H_

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "files.h"
#include "sha256.h"

namespace bmx {
namespace test {

struct Pair {
  std::string symbol, params;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

inline Pair read_pair(const std::string& prefix) {
  return {read_bytes(prefix + "-symbol.json"), read_bytes(prefix + "-0000.params")};
}

inline ModelFiles load(const Pair& pair) {
  return read_files(pair.symbol.data(), pair.symbol.size(), pair.params.data(), pair.params.size());
}

// Where the digest of this name is in a symbol; npos where it has none.
inline size_t digest_place(const std::string& symbol, const std::string& name) {
  const std::string key = name + R"(\": \")";
  const size_t found = symbol.find(key);
  return found == std::string::npos || found + key.size() + 64 > symbol.size() ? std::string::npos : found + key.size();
}

// The same with the digests that its contents have, as far as there is a place for them.
inline Pair with_digests(Pair pair) {
  const size_t params = digest_place(pair.symbol, "params_sha256");
  if (params != std::string::npos) pair.symbol.replace(params, 64, sha256(pair.params.data(), pair.params.size()));
  const size_t symbol = digest_place(pair.symbol, "symbol_sha256");
  if (symbol != std::string::npos) {
    pair.symbol.replace(symbol, 64, 64, '0');
    pair.symbol.replace(symbol, 64, sha256(pair.symbol.data(), pair.symbol.size()));
  }
  return pair;
}

// A text with another in the place of a part, which must occur.
inline std::string replaced(std::string text, const std::string& part, const std::string& other) {
  const size_t place = text.find(part);
  if (place == std::string::npos) throw std::runtime_error("there is no " + part);
  return text.replace(place, part.size(), other);
}

}  // namespace test
}  // namespace bmx

#endif  // BMX_TESTS_PAIRS_H_
