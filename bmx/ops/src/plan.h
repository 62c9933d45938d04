// Programs whose shapes are known.
#ifndef BMX_PLAN_H_
#define BMX_PLAN_H_

#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bands.h"
#include "feature.h"
#include "parts.h"
#include "program.h"
#include "tile.h"

namespace bmx {

// Values of an array, as many as MXNet allows: what is computed from sizes below it does not overflow.
constexpr int64_t kMaxValues = INT_MAX;

// The largest magnitude that a feature map of type int16 holds.
constexpr int64_t kMaxShort = 32767;

// A feature map at one point of a program.
struct Feature {
  Layout layout;
  int64_t channels;
  Size size;
  int64_t largest;  // magnitude of a value, at most, where all are whole numbers; else 0

  int64_t values() const { return channels * size.pixels(); }
  int64_t bytes() const { return values() * value_bytes(layout); }
};

// An operand and the feature map that it is a part of.
struct Source {
  Operand operand;
  Feature feature;
};

struct PlannedStep {
  Step::Kind kind;
  int64_t parameter;  // or -1
  Source addend;      // of kPlus
};

struct PlannedInstruction {
  const Operation* operation;
  std::vector<Source> in;
  std::vector<PlannedStep> before, steps;
  std::vector<int64_t> parameters;  // beside those of steps
  Destination to;
  Feature out;
  std::shared_ptr<const void> problem;  // what its operation made of the words

  int64_t channels() const;  // of what is concatenated
};

struct PlannedParameter {
  Parameter kind;
  std::vector<int64_t> shape;
};

struct Plan {
  std::vector<Feature> data;
  int64_t num_outputs;
  std::vector<PlannedInstruction> instructions;
  std::vector<PlannedParameter> parameters;
  std::vector<Bands> bands;
  std::vector<Parts> parts;
};

// Finds the shapes of everything, given those of the data inputs. Throws Error where they do not fit.
Plan infer(const Program& program, const std::vector<Feature>& data, const CacheLimits& limits = {});

// What an operation's infer() is given, an instruction and its input, and where it puts what it finds.
struct Inference {
  const Instruction& instruction;
  int64_t channels;  // of what is concatenated
  Size image;
  Feature out;  // at first with the channels and the size of the input

  // Size of the result of sliding a window over the image, whose pixels, padded, have so many values in memory.
  Size slide(const Window& window, int64_t values) const;

  std::vector<std::vector<int64_t>> shapes;  // of the instruction's parameters, as many as it may have
};

}  // namespace bmx

#endif  // BMX_PLAN_H_
