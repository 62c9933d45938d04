// What an instruction of a program can be: a table of operations, as there is one of kernels (kernels.h).
#ifndef BMX_OPERATIONS_H_
#define BMX_OPERATIONS_H_

#include <memory>
#include <string>
#include <vector>

#include "plan.h"
#include "program.h"
#include "reader.h"
#include "task.h"

namespace bmx {

struct Operation {
  const char* name;
  bool reads_first;  // has read its input before it writes, so that it may write to a slot that it reads
  // Reads the operation's own words.
  void (*parse)(Reader* reader, Instruction* instruction);
  // From an instruction's words to a problem of known size, which the others take; finds the shapes.
  std::shared_ptr<const void> (*infer)(const void* words, Inference* inference);
  // The problem of one of `count` bands of rows, as many as divide the image's; null where rows of the result depend on
  // more than rows of their own.
  std::shared_ptr<const void> (*band)(const void* problem, int64_t count);
  // One of `count` parts of the result's channels, as many as divide them.
  Part (*part)(const void* problem, int64_t count);
  // Bytes that a task works in.
  Memory (*memory)(const void* problem, const Kernel& kernel);
  // Words multiplied, or values touched, for one value of the result.
  double (*work)(const void* problem);
  // What runs it.
  std::unique_ptr<Task> (*bind)(const void* problem, const Binding& binding);
};

template <typename Own, typename Problem>
std::unique_ptr<Task> make_task(const Problem& problem, const Binding& binding) {
  return std::unique_ptr<Task>(new Own(problem, binding));
}

// The row of an operation whose file defines types `Words` and `Problem` and the functions of a row, with these types.
template <typename Own>
Operation row(const char* name, bool reads_first) {
  using Words = typename Own::Words;
  using Problem = typename Own::Problem;
  return {name,
          reads_first,
          Own::parse,
          [](const void* words, Inference* inference) -> std::shared_ptr<const void> {
            return std::make_shared<Problem>(Own::infer(*static_cast<const Words*>(words), inference));
          },
          [](const void* problem, int64_t count) -> std::shared_ptr<const void> {
            Problem band = *static_cast<const Problem*>(problem);
            if (!Own::has_rows_of_its_own(band)) return nullptr;
            band.image.height /= count;
            return std::make_shared<Problem>(band);
          },
          [](const void* problem, int64_t count) { return Own::part(*static_cast<const Problem*>(problem), count); },
          [](const void* problem, const Kernel& kernel) {
            return Own::memory(*static_cast<const Problem*>(problem), kernel);
          },
          [](const void* problem) { return Own::work(*static_cast<const Problem*>(problem)); },
          [](const void* problem, const Binding& binding) {
            return Own::bind(*static_cast<const Problem*>(problem), binding);
          }};
}

// All operations, each defined in its file operation_NAME.cc.
const std::vector<Operation>& operations();

// Throws Error where there is none.
const Operation& find_operation(const std::string& name);

}  // namespace bmx

#endif  // BMX_OPERATIONS_H_
