// Operator attributes, which are strings in MXNet and in the files of models.
#ifndef BMX_ATTRIBUTES_H_
#define BMX_ATTRIBUTES_H_

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace bmx {

using Attributes = std::unordered_map<std::string, std::string>;

// Throws for a name that is not in `known`; those that begin with __ (`__profiler_scope__`, ...) pass.
void check_names(const Attributes& attributes, const std::vector<std::string>& known);

// Each returns the attribute `name`, or `missing` where it was not given; throws for what it cannot read.
int64_t get_int(const Attributes& attributes, const std::string& name, int64_t missing);
double get_double(const Attributes& attributes, const std::string& name, double missing);
bool get_bool(const Attributes& attributes, const std::string& name, bool missing);
std::string get_string(const Attributes& attributes, const std::string& name, const std::string& missing);
// "(3, 3)", "[3, 3]" or "3"; empty where it was not given.
std::vector<int64_t> get_tuple(const Attributes& attributes, const std::string& name);

// Throws where the attribute `name` is not between `least` and INT_MAX.
void check_range(const char* name, int64_t value, int64_t least);

}  // namespace bmx

#endif  // BMX_ATTRIBUTES_H_
