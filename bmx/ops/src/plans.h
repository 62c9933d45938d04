// Programs that were parsed before: MXNet asks for the same one with every call.
#ifndef BMX_PLANS_H_
#define BMX_PLANS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace bmx {

// parse_program()
std::shared_ptr<const Program> parsed(const std::string& text, int64_t num_data, int64_t num_outputs);

// parse_program() and infer()
std::shared_ptr<const Program> planned(const std::string& text, int64_t num_outputs, const std::vector<Feature>& data);

}  // namespace bmx

#endif  // BMX_PLANS_H_
