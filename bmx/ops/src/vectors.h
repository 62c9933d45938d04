// Vectors, as GCC and Clang have them for any instruction set, and memory of any alignment. A kernel that runs on part
// of the CPUs only includes this inside its target region.
#ifndef BMX_VECTORS_H_
#define BMX_VECTORS_H_

#include <cstring>

namespace bmx {
namespace {

template <typename Value, int Bytes>
struct VectorOf {
  typedef Value Type __attribute__((vector_size(Bytes)));
};

template <typename Vector>
inline Vector load_from(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

template <typename Vector>
inline void store_to(const Vector& vector, void* to) {
  std::memcpy(to, &vector, sizeof vector);
}

}  // namespace
}  // namespace bmx

#endif  // BMX_VECTORS_H_
