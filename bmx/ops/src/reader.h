// Reads the words of an instruction.
#ifndef BMX_READER_H_
#define BMX_READER_H_

#include <climits>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "program.h"

namespace bmx {

// The parts of a text between separators.
std::vector<std::string> split(const std::string& text, char separator);

// The keys and values of one instruction, each of which is read once. A reading function leaves what it should set as
// it is, and returns false, where the text has no value. Throws Error for values that are not what they should be.
class Reader {
 public:
  // `words` are key=value.
  explicit Reader(const std::vector<std::string>& words);

  // Throws where a key has no value.
  void require(const char* key);

  bool integer(const char* key, int64_t least, int64_t most, int64_t* value);
  bool integer(const char* key, int64_t least, int64_t* value) { return integer(key, least, INT_MAX, value); }
  bool flag(const char* key, bool* value);
  bool size(const char* key, int64_t least, Size* value);
  // Kernel, which is required, stride and pad.
  void window(Window* window);
  bool pool(const char* key, Pool* pool);
  bool parameter(const char* key, int64_t* index);
  bool operands(const char* key, std::vector<Operand>* operands);
  bool destination(const char* key, Destination* destination);
  // Puts steps behind those that are there.
  bool steps(const char* key, std::vector<StepText>* steps);

  // Throws where a word was not read.
  void check_all_taken() const;

 private:
  // The value, or null where there is none.
  const std::string* take(const char* key);

  std::map<std::string, std::string> values_;
  std::list<std::string> taken_;
  std::string known_;
};

}  // namespace bmx

#endif  // BMX_READER_H_
