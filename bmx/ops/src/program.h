// Programs: chains of convolutions and elementwise maps that run as one operator.
//
// A program is text, instructions between semicolons, each an operation (operations.h) and key=value pairs between
// spaces:
//
//   conv in=SLICES out=DEST weight=pI [threshold=pI] kernel=3,3 [stride=1,1] [pad=0,0] [dilate=1,1] filters=64
//        [groups=1] [pad_value=-1] [binarizations=1] [interleaved=0] [planes=1] [counted=0] [zero_one=0] [scales=pI]
//        [weight_planes=1] [weight_scales=pI] [steps=STEPS]
//   fconv in=SLICES out=DEST weight=pI kernel=3,3 [stride=1,1] [pad=0,0] [dilate=1,1] filters=64 [groups=1]
//        [before=STEPS] [steps=STEPS]
//   map in=SLICES out=DEST [before=STEPS] [pool=avg global=1] [steps=STEPS] [shuffle=4]
//   map in=SLICES out=DEST [before=STEPS] [pool=max kernel=3,3 [stride=1,1] [pad=0,0] [full=0] [count_pad=0]]
//        [steps=STEPS] [shuffle=4]
//
// conv    a binary convolution, whose weights are packed bits, or interleaved words (kernels.h), of one or several
// planes
//         (convolution.h). With several binarizations (residual.h) it takes no threshold. With several products, or
//         with scales, its result is not of type int16
// fconv   a float convolution (float_convolution.h tells the order of its sums, and of its weights)
// map     steps on values, and pooling between `before` and `steps`
//
// SLICES  NAME[a:b],...: channels a to b of tensors, concatenated. NAME is x0, ... (data inputs) or s0, ... (slots)
// DEST    y0, ... or y0:flat, ... (outputs of shape (N, C, H, W) or (N, C * H * W)), or s0:int16, s0:float32 (slots, a
//         pixel's channels adjacent), s0:planar (a channel's pixels)
// pool    max or avg of what is in the image; full=1: the last window may reach beyond the image. Of a window without
//         any pixel they are the lowest float32 and 0; the maximum of NaN alone is the former, too: as in MXNet. An
//         average is the sum, row by row, beginning with +0, divided by the number of pixels; count_pad=1: those of the
//         padding count, too. global=1: the window is the image
// STEPS   STEP|...: mul:pI, add:pI, norm:pI, relu, prelu:pI, plus:NAME[a:b], repeat:NAME[a:b] (the same channels added
//         again and again: channel c gets channel a + c % (b - a))
//
// Parameters p0, p1, ... are the operator's inputs behind the data. A slot holds what the last instruction wrote to it.
// An instruction may write to a slot that its `steps` add, a conv also to one that it reads.
//
// What is here is what the text says; shapes are in plan.h.
#ifndef BMX_PROGRAM_H_
#define BMX_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "feature.h"
#include "tile.h"

namespace bmx {

struct Operation;

// Channels [begin, end) of a data input ('x') or slot ('s').
struct Operand {
  char kind;
  int64_t index;
  int64_t begin, end;

  int64_t channels() const { return end - begin; }
};

std::string text(const Operand& operand);

// An output ('y') or a slot ('s'), and how values lie in it.
struct Destination {
  char kind = 'y';
  int64_t index = 0;
  Layout layout = Layout::kPlanar;
  bool flat = false;  // an output of shape (N, C * H * W)

  // Does the operand read what is written here?
  bool holds(const Operand& operand) const { return operand.kind == kind && operand.index == index; }
};

struct StepText {
  Step::Kind kind;
  int64_t parameter;  // or -1
  Operand addend;     // of kPlus
  bool repeats;       // is it added to as many channels, or again and again?
};

// A parameter that an operation reads.
struct ParameterUse {
  int64_t index;
  bool bits;  // packed weights, uint8; else float32
};

struct Instruction {
  std::string place;  // in the program, for messages
  const Operation* operation = nullptr;
  std::vector<Operand> in;
  Destination out;
  std::vector<StepText> before, steps;
  std::vector<ParameterUse> parameters;  // beside those of steps
  std::shared_ptr<const void> words;     // of its operation's own type
};

struct Parameter {
  bool bits;           // packed weights, uint8; else float32
  bool may_be_single;  // instead of a value for each channel
};

struct Program {
  int64_t num_data, num_outputs;
  std::vector<Instruction> instructions;
  std::vector<Parameter> parameters;

  // Throws Error where the instructions are not a program.
  Program(std::vector<Instruction> all, int64_t data_count, int64_t output_count);
};

// Throws Error for text that is not a program.
Program parse_program(const std::string& text, int64_t num_data, int64_t num_outputs);

}  // namespace bmx

#endif  // BMX_PROGRAM_H_
