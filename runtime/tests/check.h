// Tests: functions that register themselves and count what they check. One program runs those of all files.
#ifndef BMX_TESTS_CHECK_H_
#define BMX_TESTS_CHECK_H_

#include <sstream>
#include <stdexcept>
#include <string>

namespace bmx {
namespace test {

// TEST(name) { ... } is a test; an exception fails it.
#define TEST(name)                                                           \
  static void name();                                                        \
  static const bool name##_is_registered = bmx::test::add_test(#name, name); \
  static void name()

#define CHECK(condition) bmx::test::check(condition, __FILE__, __LINE__, #condition)
#define CHECK_EQUAL(found, expected) bmx::test::check_equal(found, expected, __FILE__, __LINE__, #found)
// The expression throws a std::exception whose message has this part.
#define CHECK_ERROR(expression, part) \
  bmx::test::check_error([&] { static_cast<void>(expression); }, part, __FILE__, __LINE__, #expression)

bool add_test(const char* name, void (*function)());
void check(bool passed, const char* file, int line, const std::string& what);
// The folder of the tests' files, the program's first argument.
const std::string& data_folder();

template <typename Found, typename Expected>
void check_equal(const Found& found, const Expected& expected, const char* file, int line, const char* what) {
  std::ostringstream sentence;
  sentence << what << " is " << found << ", not " << expected;
  check(found == expected, file, line, sentence.str());
}

template <typename Function>
void check_error(const Function& function, const std::string& part, const char* file, int line, const char* what) {
  std::string message = "no error";
  try {
    function();
  } catch (const std::exception& error) {
    message = error.what();
  }
  check(message.find(part) != std::string::npos, file, line,
        std::string(what) + ": '" + message + "' has no '" + part + "'");
}

}  // namespace test
}  // namespace bmx

#endif  // BMX_TESTS_CHECK_H_
