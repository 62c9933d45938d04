// The operation `fconv`: a float convolution (float_convolution.h).
#include "error.h"
#include "filters.h"
#include "float_convolution.h"
#include "operations.h"

namespace bmx {
namespace {

struct Fconv {
  using Words = Filters;
  using Problem = FloatConvolution;

  static void parse(Reader* reader, Instruction* instruction) {
    Words words;
    int64_t weight = 0;
    reader->require("weight");
    reader->parameter("weight", &weight);
    words.parse(reader);
    reader->steps("before", &instruction->before);
    instruction->parameters = {{weight, false}};
    instruction->words = std::make_shared<Words>(words);
  }

  static Problem infer(const Words& words, Inference* inference) {
    const int64_t channels = words.group_channels(*inference);
    Feature& out = inference->out;
    out = {out.layout, words.filters, words.out(*inference, inference->channels), 0};
    const FloatConvolution conv = {inference->image, words.window, inference->channels, words.filters, words.groups};
    int64_t values = 1;
    for (int64_t size : conv.weights().shape()) {
      if (size > kMaxValues / values) {
        fail("weights of ", words.filters, " filters, ", channels, " channels and kernel ", text(words.window.size),
             " are too large");
      }
      values *= size;
    }
    inference->shapes = {conv.weights().shape()};
    return conv;
  }

  // In bands it would read its weights, which may be larger than they are, again and again.
  static bool has_rows_of_its_own(const Problem&) { return false; }

  // Whole groups, or whole blocks of filters of the only one.
  static Part part(const Problem& conv, int64_t count) {
    Problem part = conv;
    part.filters /= count;
    const bool cuts_input = conv.groups > 1;
    if (cuts_input) {
      part.channels /= count;
      part.groups /= count;
    }
    if ((cuts_input ? conv.groups : conv.blocks()) % count || part.lanes() != conv.lanes()) return {};
    return {std::make_shared<Problem>(part), cuts_input};
  }

  static Memory memory(const Problem& conv, const Kernel&) { return {0, 0, conv.thread_bytes()}; }

  static double work(const Problem& conv) { return static_cast<double>(conv.depth()); }

  static std::unique_ptr<Task> bind(const Problem& conv, const Binding& binding) {
    return make_task<FloatConvolutionTask>(conv, binding);
  }
};

}  // namespace

extern const Operation kFconv = row<Fconv>("fconv", false);

}  // namespace bmx
