// Programs and plans that were made before: MXNet asks for the same ones with every call.
#ifndef BMX_CACHE_H_
#define BMX_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plan.h"
#include "program.h"

namespace bmx {

// parse_program()
std::shared_ptr<const Program> parsed(const std::string& text, int64_t num_data, int64_t num_outputs);

// infer() of it
std::shared_ptr<const Plan> planned(const std::string& text, int64_t num_outputs, const std::vector<Feature>& data);

}  // namespace bmx

#endif  // BMX_CACHE_H_
