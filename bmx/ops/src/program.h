// Programs: chains of binary convolutions and elementwise maps that run as one operator.
//
// A program is text, instructions between semicolons, each a kind and key=value pairs between spaces:
//
//   conv in=SLICES out=DEST weight=pI [threshold=pI] kernel=3,3 [stride=1,1] [pad=0,0] [dilate=1,1] filters=64
//        [groups=1] [pad_value=-1] [binarizations=1] [steps=STEPS]
//   map in=SLICES out=DEST [before=STEPS] [pool=max kernel=3,3 [stride=1,1] [pad=0,0] [full=0]] [steps=STEPS]
//        [shuffle=4]
//
// SLICES  NAME[a:b],...: channels a to b of tensors, concatenated. NAME is x0, ... (data inputs) or s0, ... (slots)
// DEST    y0, ... (outputs), or s0:int16, s0:float32 (a pixel's channels adjacent), s0:planar (a channel's pixels)
// pool    max or avg of what is in the image; full=1: the last window may reach beyond the image. Of a window without
//         any pixel they are the lowest float32 and 0; the maximum of NaN alone is the former, too: as in MXNet
// STEPS   STEP|...: mul:pI, add:pI, norm:pI, relu, prelu:pI, plus:NAME[a:b]
//
// With several binarizations (residual.h) a conv takes no threshold, and its result is not of type int16.
// Parameters p0, p1, ... are the operator's inputs behind the data. A slot holds what the last instruction wrote to it.
// An instruction may write to a slot that its `steps` add, a convolution also to one that it reads.
#ifndef BMX_PROGRAM_H_
#define BMX_PROGRAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "feature.h"
#include "tile.h"

namespace bmx {

// Sums of more than 2^24 ones are not exact in float32.
constexpr int64_t kMaxBits = int64_t{1} << 24;

// Values of an array, as many as MXNet allows: what is computed from sizes below it does not overflow.
constexpr int64_t kMaxValues = INT32_MAX;

// A feature map at one point of a program.
struct Feature {
  Layout layout;
  int64_t channels;
  Size size;
  int64_t largest;  // magnitude of an int16 value, at most

  int64_t values() const { return channels * size.pixels(); }
  int64_t bytes() const { return values() * value_bytes(layout); }
};

// Channels [begin, end) of a data input ('x') or slot ('s').
struct Operand {
  char kind;
  int64_t index;
  int64_t begin, end;
  Feature feature;  // set by infer()
};

struct StepText {
  Step::Kind kind;
  int64_t parameter;  // or -1
  Operand addend;     // of kPlus
};

struct Instruction {
  enum Kind { kConvolution, kMap };
  Kind kind;
  std::vector<Operand> in;
  char out_kind;  // output ('y') or slot ('s')
  int64_t out_index;
  Layout out_layout;
  Window window;
  std::vector<StepText> before, steps;
  Pool pool = Pool::kNone;                  // of a map
  int64_t weight = -1, threshold = -1;      // parameters
  int64_t filters = 0;
  int64_t groups = 1;                       // of a convolution, or of a map's shuffle
  int pad_value = -1;
  int64_t binarizations = 1;
  Feature out = {};      // set by infer()
  Size image = {};       // of `in`, set by infer()
  int64_t channels = 0;  // of `in`, set by infer()
};

// What a parameter must be.
struct Parameter {
  bool bits;  // packed weights, uint8; else float32
  bool may_be_single;
  std::vector<int64_t> shape;  // set by infer()
};

struct Program {
  int64_t num_data, num_outputs;
  std::vector<Instruction> instructions;
  std::vector<Parameter> parameters;
  std::vector<Feature> data;  // set by infer()
};

// Throws Error for text that is not a program.
Program parse_program(const std::string& text, int64_t num_data, int64_t num_outputs);

// Finds the shapes of everything, given those of the data inputs. Throws Error where they do not fit.
void infer(const std::vector<Feature>& data, Program* program);

// "instruction 3 (conv)"
std::string describe(const Program& program, size_t index);

}  // namespace bmx

#endif  // BMX_PROGRAM_H_
