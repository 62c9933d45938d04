#include "report.h"

#include <mutex>

namespace bmx {

void report(const std::string& sentence) {
  // MXNet prints every message a library ever added. Its list only grows, so one entry is kept and rewritten.
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  static std::stringstream& entry = MX_ERROR_MSG;
  entry.str(sentence);
}

}  // namespace bmx
