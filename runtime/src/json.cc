#include "json.h"

#include <cstring>
#include <limits>
#include <locale>
#include <sstream>
#include <utility>

#include "error.h"

namespace bmx {
namespace {

constexpr int kMaxDepth = 64;
const char* const kNames[] = {"null", "a boolean", "an integer", "a number", "a string", "an array", "an object"};

bool is_digit(int character) { return character >= '0' && character <= '9'; }

void append_utf8(uint32_t code, std::string* text) {
  const auto more = [&](int shift) { text->push_back(static_cast<char>(0x80 | (code >> shift & 0x3F))); };
  if (code < 0x80) {
    text->push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text->push_back(static_cast<char>(0xC0 | code >> 6));
    more(0);
  } else if (code < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | code >> 12));
    more(6);
    more(0);
  } else {
    text->push_back(static_cast<char>(0xF0 | code >> 18));
    more(12);
    more(6);
    more(0);
  }
}

class Parser {
 public:
  Parser(const char* text, size_t size) : begin_(text), at_(text), end_(text + size) {}

  Json whole() {
    Json found = value(0);
    skip_space();
    if (at_ != end_) wrong("text behind the value");
    return found;
  }

 private:
  [[noreturn]] void wrong(const char* what) const { fail("byte ", at_ - begin_, ": ", what); }

  // The next character, -1 at the end.
  int peek() const { return at_ == end_ ? -1 : static_cast<unsigned char>(*at_); }

  bool skip(char character) {
    if (peek() != character) return false;
    ++at_;
    return true;
  }

  bool skip(const char* word) {
    const size_t length = std::strlen(word);
    if (static_cast<size_t>(end_ - at_) < length || std::memcmp(at_, word, length)) return false;
    at_ += length;
    return true;
  }

  void skip_space() {
    while (skip(' ') || skip('\n') || skip('\r') || skip('\t')) {
    }
  }

  Json value(int depth) {
    if (depth > kMaxDepth) wrong("nested too deeply");
    skip_space();
    if (peek() == '{') return object(depth);
    if (peek() == '[') return array(depth);
    if (peek() == '"') return Json(string());
    if (peek() == '-' || is_digit(peek())) return number();
    if (skip("true")) return Json(true);
    if (skip("false")) return Json(false);
    if (skip("null")) return Json();
    if (skip("Infinity")) return Json(std::numeric_limits<double>::infinity());
    wrong(at_ == end_ ? "the text ends too early" : "no value begins here");
  }

  Json array(int depth) {
    ++at_;
    Json::Array found;
    skip_space();
    if (skip(']')) return Json(std::move(found));
    do {
      found.push_back(value(depth + 1));
      skip_space();
    } while (skip(','));
    if (!skip(']')) wrong("a comma or ] must follow");
    return Json(std::move(found));
  }

  Json object(int depth) {
    ++at_;
    Json::Object found;
    skip_space();
    if (skip('}')) return Json(std::move(found));
    do {
      skip_space();
      if (peek() != '"') wrong("a key must follow");
      std::string key = string();
      if (found.count(key)) wrong("the key occurs twice");
      skip_space();
      if (!skip(':')) wrong("a colon must follow");
      found.emplace(std::move(key), value(depth + 1));
      skip_space();
    } while (skip(','));
    if (!skip('}')) wrong("a comma or } must follow");
    return Json(std::move(found));
  }

  Json number() {
    const char* start = at_;
    skip('-');
    if (!skip('0')) digits();
    const char* whole_end = at_;
    if (skip('.')) digits();
    if (skip('e') || skip('E')) {
      if (!skip('+')) skip('-');
      digits();
    }
    int64_t integer;
    if (at_ == whole_end && to_integer(start, at_, &integer)) return Json(integer);
    std::istringstream stream(std::string(start, at_));
    stream.imbue(std::locale::classic());
    double real;
    if (!(stream >> real)) wrong("the number is too large");
    return Json(real);
  }

  void digits() {
    if (!is_digit(peek())) wrong("a digit must follow");
    while (is_digit(peek())) ++at_;
  }

  // False beyond 64 bits.
  static bool to_integer(const char* at, const char* end, int64_t* value) {
    const bool negative = *at == '-';
    const uint64_t most = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) + negative;
    uint64_t magnitude = 0;
    for (at += negative; at != end; ++at) {
      const uint64_t digit = *at - '0';
      if (magnitude > (most - digit) / 10) return false;
      magnitude = 10 * magnitude + digit;
    }
    *value = static_cast<int64_t>(negative ? 0 - magnitude : magnitude);
    return true;
  }

  std::string string() {
    ++at_;
    std::string text;
    for (;;) {
      const char* run = at_;
      while (peek() >= 0x20 && peek() < 0x80 && peek() != '"' && peek() != '\\') ++at_;
      text.append(run, at_);
      if (skip('"')) return text;
      if (peek() == '\\') escape(&text);
      else if (peek() >= 0x80) multibyte(&text);
      else wrong(at_ == end_ ? "the text ends within a string" : "a control character in a string");
    }
  }

  // A character of several bytes in UTF-8.
  void multibyte(std::string* text) {
    const int first = peek();
    const int more = first >= 0xC2 && first < 0xE0 ? 1 : first >= 0xE0 && first < 0xF0 ? 2 : first < 0xF5 ? 3 : 0;
    bool valid = first >= 0xC2 && more && end_ - at_ > more;
    for (int i = 1; valid && i <= more; ++i) valid = (at_[i] & 0xC0) == 0x80;
    if (valid && more > 1) {  // neither longer than it need be, nor a surrogate, nor beyond the last one
      const int second = static_cast<unsigned char>(at_[1]);
      valid = !(first == 0xE0 && second < 0xA0) && !(first == 0xED && second >= 0xA0) &&
              !(first == 0xF0 && second < 0x90) && !(first == 0xF4 && second >= 0x90);
    }
    if (!valid) wrong("the text is not UTF-8");
    text->append(at_, more + 1);
    at_ += more + 1;
  }

  void escape(std::string* text) {
    static const char kEscapes[] = "\"\\/bfnrt", kMeanings[] = "\"\\/\b\f\n\r\t";
    ++at_;
    if (skip('u')) return append_utf8(unicode(), text);
    const char* found = at_ == end_ || !*at_ ? nullptr : std::strchr(kEscapes, *at_);
    if (!found) wrong("no such escape");
    text->push_back(kMeanings[found - kEscapes]);
    ++at_;
  }

  // A character behind \u, with the second half of a pair where there is one.
  uint32_t unicode() {
    const uint32_t code = hexadecimal();
    if (code < 0xD800 || code >= 0xE000) return code;
    const char* behind = at_;
    if (code < 0xDC00 && skip("\\u")) {
      const uint32_t low = hexadecimal();
      if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      at_ = behind;
    }
    return 0xFFFD;
  }

  uint32_t hexadecimal() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const int digit = peek();
      if (is_digit(digit)) code = code * 16 + (digit - '0');
      else if (digit >= 'a' && digit <= 'f') code = code * 16 + (digit - 'a' + 10);
      else if (digit >= 'A' && digit <= 'F') code = code * 16 + (digit - 'A' + 10);
      else wrong("four hexadecimal digits must follow");
    }
    return code;
  }

  const char* const begin_;
  const char* at_;
  const char* const end_;
};

}  // namespace

Json::Json(std::string value) { string_ = new std::string(std::move(value)), kind_ = kString; }
Json::Json(Array value) { array_ = new Array(std::move(value)), kind_ = kArray; }
Json::Json(Object value) { object_ = new Object(std::move(value)), kind_ = kObject; }

Json::~Json() {
  if (kind_ == kString) delete string_;
  else if (kind_ == kArray) delete array_;
  else if (kind_ == kObject) delete object_;
}

void Json::swap(Json& other) noexcept {
  static_assert(sizeof(integer_) >= sizeof(real_) && sizeof(integer_) >= sizeof(string_), "the union's largest");
  char own[sizeof(integer_)];
  std::memcpy(own, &integer_, sizeof own);
  std::memcpy(&integer_, &other.integer_, sizeof own);
  std::memcpy(&other.integer_, own, sizeof own);
  std::swap(kind_, other.kind_);
}

void Json::require(Kind kind) const {
  if (kind_ != kind) fail("it is ", kNames[kind_], ", not ", kNames[kind]);
}

bool Json::boolean() const { return require(kBoolean), boolean_; }
int64_t Json::integer() const { return require(kInteger), integer_; }
const std::string& Json::string() const { return require(kString), *string_; }
const Json::Array& Json::array() const { return require(kArray), *array_; }
const Json::Object& Json::object() const { return require(kObject), *object_; }

double Json::number() const {
  if (kind_ == kInteger) return static_cast<double>(integer_);
  require(kReal);
  return real_;
}

const Json* Json::find(const std::string& key) const {
  if (kind_ != kObject) return nullptr;
  const auto found = object_->find(key);
  return found == object_->end() ? nullptr : &found->second;
}

const Json& Json::at(const std::string& key) const {
  const Json* found = (require(kObject), find(key));
  if (!found) fail("it has no ", key);
  return *found;
}

Json parse_json(const char* text, size_t size) { return Parser(text, size).whole(); }

}  // namespace bmx
