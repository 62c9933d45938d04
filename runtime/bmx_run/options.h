// The command line of bmx-run.
#ifndef BMX_RUN_OPTIONS_H_
#define BMX_RUN_OPTIONS_H_

#include <stdexcept>
#include <string>
#include <vector>

namespace bmx_run {

extern const char kHelp[];

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  bool help = false, version = false, json = false, bench = false;
  int threads = 0;     // 0: one for each core
  std::string kernel;  // empty: the fastest
  std::string prefix;
  std::vector<std::string> images;
};

// Throws UsageError.
Options parse(const std::vector<std::string>& arguments);

}  // namespace bmx_run

#endif  // BMX_RUN_OPTIONS_H_
