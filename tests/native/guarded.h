// Memory between two pages that nobody may touch.
#ifndef BMX_TESTS_GUARDED_H_
#define BMX_TESTS_GUARDED_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

enum class Side { kFront, kBack };

// `count` values of T. They begin at the front page, or end at the back page as far as their alignment lets them. All
// between the two is filled with kFill at first.
template <typename T>
class Guarded {
 public:
  static constexpr unsigned char kFill = 0xa5;

  Guarded(int64_t count, Side side, int64_t alignment = alignof(T)) {
    const int64_t page = sysconf(_SC_PAGESIZE), bytes = count * static_cast<int64_t>(sizeof(T));
    size_ = (bytes + page - 1) / page * page;
    void* all = mmap(nullptr, size_ + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) std::abort();
    mapped_ = static_cast<unsigned char*>(all);
    begin_ = mapped_ + page;
    mprotect(begin_, size_, PROT_READ | PROT_WRITE);
    std::memset(begin_, kFill, size_);
    values_ = begin_ + (side == Side::kFront ? 0 : (size_ - bytes) / alignment * alignment);
    bytes_ = bytes;
  }
  // A copy, which only may be read.
  Guarded(const std::vector<T>& values, Side side) : Guarded(static_cast<int64_t>(values.size()), side) {
    if (bytes_) std::memcpy(values_, values.data(), bytes_);
    protect();
  }
  ~Guarded() { munmap(mapped_, size_ + 2 * (begin_ - mapped_)); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return reinterpret_cast<T*>(values_); }
  const T* data() const { return reinterpret_cast<const T*>(values_); }
  T& operator[](int64_t i) { return data()[i]; }

  // From now on a write kills the program.
  void protect() { mprotect(begin_, size_, PROT_READ); }

  // Did nobody write around the values?
  bool intact_around() const {
    for (const unsigned char* p = begin_; p < begin_ + size_; ++p) {
      if (p == values_) p += bytes_;
      if (p < begin_ + size_ && *p != kFill) return false;
    }
    return true;
  }

 private:
  unsigned char *mapped_, *begin_, *values_;
  int64_t size_, bytes_;
};

#endif  // BMX_TESTS_GUARDED_H_
