// Runs all tests: bmx_tests [FOLDER [NAME]], the folder of the tests' files, and only tests whose names have a
// part.
#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include "check.h"

namespace bmx {
namespace test {
namespace {

std::vector<std::pair<std::string, void (*)()>>& tests() {
  static std::vector<std::pair<std::string, void (*)()>> all;
  return all;
}

std::string folder = "runtime/tests/data";
int checked = 0, failed = 0;

}  // namespace

bool add_test(const char* name, void (*function)()) {
  tests().emplace_back(name, function);
  return true;
}

void check(bool passed, const char* file, int line, const std::string& what) {
  ++checked;
  if (passed) return;
  ++failed;
  std::printf("%s:%d: %s\n", file, line, what.c_str());
}

const std::string& data_folder() { return folder; }

}  // namespace test
}  // namespace bmx

int main(int count, char** arguments) {
  using namespace bmx::test;
  if (count > 1) folder = arguments[1];
  int run = 0;
  for (const auto& test : tests()) {
    if (count > 2 && test.first.find(arguments[2]) == std::string::npos) continue;
    ++run;
    const int before = failed;
    try {
      test.second();
    } catch (const std::exception& error) {
      check(false, test.first.c_str(), 0, std::string("an exception: ") + error.what());
    }
    if (failed > before) std::printf("%s failed\n", test.first.c_str());
  }
  std::printf("%d tests, %d checks, %d failed\n", run, checked, failed);
  return failed || !run;
}
