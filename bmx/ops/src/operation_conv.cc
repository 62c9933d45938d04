#include "operation_conv.h"

#include "convolution.h"
#include "error.h"
#include "grouped.h"
#include "operations.h"

namespace bmx {
namespace {

// Sums of more than 2^24 ones are not exact in float32.
constexpr int64_t kMaxBits = int64_t{1} << 24;

// The two ways to compute a convolution.
struct Implementation {
  Memory (*memory)(const Convolution& conv, const Kernel& kernel);
  std::unique_ptr<Task> (*bind)(const Convolution& conv, const Binding& binding);
};

const Implementation& choose(const Convolution& conv, const Kernel& kernel) {
  static constexpr Implementation words = {convolution_memory, make_task<ConvolutionTask>};
  static constexpr Implementation lookups = {grouped_memory, make_task<GroupedConvolutionTask>};
  return has_small_groups(conv, kernel) ? lookups : words;
}

struct Conv {
  using Words = ConvWords;
  using Problem = Convolution;

  static void parse(Reader* reader, Instruction* instruction) {
    Words words;
    int64_t weight = 0, threshold = -1;
    reader->require("weight");
    reader->parameter("weight", &weight);
    reader->parameter("threshold", &threshold);
    words.parse(reader);
    reader->integer("pad_value", -1, 1, &words.pad_value);
    reader->integer("binarizations", 1, kMaxBinarizations, &words.binarizations);
    reader->flag("interleaved", &words.interleaved);
    if (words.interleaved && words.filters / words.groups % kFilterTile) {
      fail("interleaved weights are of groups of ", kFilterTile, " filters, got groups ", words.groups, " and filters ",
           words.filters);
    }
    if (words.binarizations > 1 && threshold >= 0) {
      fail("a threshold is of one binarization, got ", words.binarizations);
    }
    set_conv(words, weight, threshold, instruction);
  }

  static Problem infer(const Words& words, Inference* inference) {
    const Window& window = words.window;
    Feature& out = inference->out;
    const bool shorts = out.layout == Layout::kShorts;
    const int64_t channels = words.group_channels(*inference), most = shorts ? kMaxShort : kMaxBits;
    if (window.size.height > most / window.size.width || channels > most / window.taps()) {
      fail("sums of more than ", most, " products are not exact in ", shorts ? "int16" : "float32", ", got ", channels,
           " channels and kernel ", text(window.size));
    }
    if (shorts && words.binarizations > 1) fail("sums of ", words.binarizations, " binarizations are not int16");
    const int64_t bytes = packed_bytes(channels);
    if (words.filters > kMaxValues / (window.taps() * bytes)) {
      fail("weights of ", words.filters, " filters, ", channels, " channels and kernel ", text(window.size),
           " are too large");
    }
    out = {out.layout, words.filters, words.out(*inference, words.groups * words_for(channels)),
           channels * window.taps()};
    inference->shapes = {{words.filters, window.size.height, window.size.width, bytes}, {2, inference->channels}};
    if (words.interleaved) {
      inference->shapes[0] = {words.filters / kFilterTile, window.taps() * words_for(channels), kFilterTile, 8};
    }
    return {inference->image,    window,           inference->channels,
            words.filters,       words.groups,     static_cast<int>(words.pad_value),
            words.binarizations, words.interleaved};
  }

  // The scales of several binarizations are those of the image.
  static bool has_rows_of_its_own(const Problem& conv) {
    return conv.binarizations == 1 && bmx::has_rows_of_its_own(conv.window, conv.image);
  }

  static Part part(const Problem&, int64_t) { return {}; }

  static Memory memory(const Problem& conv, const Kernel& kernel) { return choose(conv, kernel).memory(conv, kernel); }

  static double work(const Problem& conv) { return static_cast<double>(conv.depth() * conv.binarizations); }

  static std::unique_ptr<Task> bind(const Problem& conv, const Binding& binding) {
    return choose(conv, binding.kernel).bind(conv, binding);
  }
};

}  // namespace

void set_conv(const ConvWords& words, int64_t weight, int64_t threshold, Instruction* instruction) {
  instruction->operation = &find_operation("conv");
  instruction->parameters = {{weight, true}};
  if (threshold >= 0) instruction->parameters.push_back({threshold, false});
  instruction->words = std::make_shared<ConvWords>(words);
}

extern const Operation kConv = row<Conv>("conv", true);

}  // namespace bmx
