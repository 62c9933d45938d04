// Memory of sizes that come from files and callers.
#ifndef BMX_MEMORY_H_
#define BMX_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace bmx {

// Uninitialized. Throws std::bad_alloc where there cannot be so much: `new` would take a size modulo 2^32 on machines
// of 32 bits.
template <typename Value>
std::unique_ptr<Value[]> allocate(int64_t count) {
  if (count < 0 || static_cast<uint64_t>(count) > PTRDIFF_MAX / sizeof(Value)) throw std::bad_alloc();
  return std::unique_ptr<Value[]>(new Value[static_cast<std::size_t>(count)]);
}

}  // namespace bmx

#endif  // BMX_MEMORY_H_
