#include "operations.h"

#include "error.h"

namespace bmx {

// each in its file, operation_NAME.cc
extern const Operation kConv;
extern const Operation kFconv;
extern const Operation kMap;

const std::vector<Operation>& operations() {
  static const std::vector<Operation> table = {kConv, kFconv, kMap};
  return table;
}

const Operation& find_operation(const std::string& name) {
  std::string valid;
  for (const Operation& operation : operations()) {
    if (operation.name == name) return operation;
    valid += std::string(valid.empty() ? "" : ", ") + operation.name;
  }
  fail("unknown operation '", name, "'; valid operations: ", valid);
}

}  // namespace bmx
