// Names and numbers as text, for terminals and in JSON.
#ifndef BMX_RUN_TEXT_H_
#define BMX_RUN_TEXT_H_

#include <string>

namespace bmx_run {

// UTF-8 with control characters, and what else a terminal does not show, as escapes like \x1b: names come from
// elsewhere, and a terminal acts on escape sequences among them. `line`: line ends, too.
std::string printable(const std::string& text, bool line = false);

// A string of JSON in ASCII, with its quotation marks. Bytes that are no UTF-8 become what Python makes of them, U+DC80
// to U+DCFF.
std::string json_string(const std::string& text);

// The fewest digits that are read as the same float64.
std::string json_number(double value);

}  // namespace bmx_run

#endif  // BMX_RUN_TEXT_H_
