// JSON (RFC 8259), read strictly.
#ifndef BMX_JSON_H_
#define BMX_JSON_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bmx {

// A value. What is asked of one of another kind is an Error.
class Json {
 public:
  enum Kind { kNull, kBoolean, kInteger, kReal, kString, kArray, kObject };
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json>;

  Json() = default;
  explicit Json(bool value) : kind_(kBoolean) { boolean_ = value; }
  explicit Json(int64_t value) : kind_(kInteger) { integer_ = value; }
  explicit Json(double value) : kind_(kReal) { real_ = value; }
  explicit Json(std::string value);
  explicit Json(Array value);
  explicit Json(Object value);
  Json(Json&& other) noexcept { swap(other); }
  Json& operator=(Json&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Json();

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return kind_ == kInteger || kind_ == kReal; }

  bool boolean() const;
  int64_t integer() const;
  double number() const;  // also of an integer
  const std::string& string() const;
  const Array& array() const;
  const Object& object() const;

  // The member of an object; find() gives null where there is none or where this is no object.
  const Json* find(const std::string& key) const;
  const Json& at(const std::string& key) const;

 private:
  void swap(Json& other) noexcept;
  void require(Kind kind) const;

  Kind kind_ = kNull;
  union {  // two words in all: a text of "0,0,0" is not to need many times its size
    bool boolean_;
    int64_t integer_ = 0;
    double real_;
    std::string* string_;
    Array* array_;
    Object* object_;
  };
};

// The value that a text in UTF-8 is. Throws Error, which names the byte, for anything else: keys that occur twice, more
// than 64 levels, text behind the value. Whole numbers beyond 64 bits are of kind kReal. As Python writes them,
// Infinity is a number, and half a surrogate pair, which UTF-8 cannot hold, may be escaped: it becomes U+FFFD.
Json parse_json(const char* text, size_t size);

}  // namespace bmx

#endif  // BMX_JSON_H_
