// SHA-256 (FIPS 180-4).
#ifndef BMX_SHA256_H_
#define BMX_SHA256_H_

#include <cstddef>
#include <string>

namespace bmx {

// The digest of bytes, 64 hexadecimal digits in lower case.
std::string sha256(const void* bytes, size_t size);
// The same without the instructions that a CPU may have for it, for tests.
std::string sha256(const void* bytes, size_t size, bool by_instructions);

}  // namespace bmx

#endif  // BMX_SHA256_H_
