// Random programs: valid ones, and what damage makes of them.
#ifndef BMX_TESTS_GENERATOR_H_
#define BMX_TESTS_GENERATOR_H_

#include <string>
#include <vector>

#include "plan.h"

// A program and the features of its data.
struct Draft {
  std::string text;
  std::vector<bmx::Feature> data;
  int64_t num_outputs;
};

// Any valid program: all words, several inputs and outputs, few values.
Draft draw_program();

// Edits the text, sometimes the sizes of the data, towards the limits of numbers.
void damage(Draft* draft);

#endif  // BMX_TESTS_GENERATOR_H_
