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
    reader->require("weight");
    reader->parameter("weight", &words.weight);
    reader->parameter("threshold", &words.threshold);
    reader->parameter("scales", &words.scales);
    reader->parameter("weight_scales", &words.weight_scales);
    words.parse(reader);
    reader->integer("pad_value", -1, 1, &words.pad_value);
    reader->integer("binarizations", 1, kMaxBinarizations, &words.binarizations);
    reader->integer("planes", 1, kMaxPlanes, &words.planes);
    reader->flag("counted", &words.counted);
    reader->flag("zero_one", &words.zero_one);
    reader->integer("weight_planes", 1, kMaxPlanes, &words.weight_planes);
    reader->flag("interleaved", &words.interleaved);
    if (words.interleaved && words.filters / words.groups % kFilterTile) {
      fail("interleaved weights are of groups of ", kFilterTile, " filters, got groups ", words.groups, " and filters ",
           words.filters);
    }
    set_conv(words, instruction);
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
    const int64_t bytes = packed_bytes(channels);
    Problem conv = {inference->image,    window,
                    inference->channels, words.filters,
                    words.groups,        static_cast<int>(words.pad_value),
                    words.binarizations, words.interleaved,
                    words.planes,        words.counted,
                    words.zero_one,      words.weight_planes};
    const int64_t comparisons = Packer::comparisons(conv.planes, conv.counted);
    if (conv.all_filters() > kMaxValues / (window.taps() * bytes)) {
      fail("weights of ", conv.all_filters(), " filters, ", channels, " channels and kernel ", text(window.size),
           " are too large");
    }
    inference->shapes = {{conv.all_filters(), window.size.height, window.size.width, bytes}};
    if (conv.interleaved) {
      inference->shapes[0] = {conv.all_filters() / kFilterTile, window.taps() * words_for(channels), kFilterTile, 8};
    }
    const auto add = [&](int64_t parameter, const std::vector<int64_t>& shape, int* place) {
      if (parameter < 0) return;
      *place = static_cast<int>(inference->shapes.size());
      inference->shapes.push_back(shape);
    };
    std::vector<int64_t> threshold = {2, conv.channels};
    if (conv.planes > 1) threshold.insert(threshold.begin(), comparisons);
    add(words.threshold, threshold, &conv.threshold);
    add(words.scales, {conv.planes}, &conv.scales);
    add(words.weight_scales, {conv.weight_planes, conv.filters}, &conv.weight_scales);
    if (shorts && conv.is_scaled()) {
      if (words.binarizations > 1) fail("sums of ", words.binarizations, " binarizations are not int16");
      fail("sums of several planes, or with scales, are not int16");
    }
    out = {out.layout, conv.filters, words.out(*inference, conv.groups * words_for(channels)),
           channels * window.taps()};
    if (conv.planes > 1 && 2 * comparisons > kMaxValues / conv.channels) {
      fail(comparisons, " thresholds of ", conv.channels, " channels are too large");
    }
    return conv;
  }

  // The scales of several binarizations are those of the image.
  static bool has_rows_of_its_own(const Problem& conv) {
    return conv.binarizations == 1 && bmx::has_rows_of_its_own(conv.window, conv.image);
  }

  static Part part(const Problem&, int64_t) { return {}; }

  static Memory memory(const Problem& conv, const Kernel& kernel) { return choose(conv, kernel).memory(conv, kernel); }

  static double work(const Problem& conv) { return static_cast<double>(conv.depth() * conv.products()); }

  static std::unique_ptr<Task> bind(const Problem& conv, const Binding& binding) {
    return choose(conv, binding.kernel).bind(conv, binding);
  }
};

}  // namespace

void set_conv(const ConvWords& words, Instruction* instruction) {
  if (words.binarizations > 1 && words.threshold >= 0) {
    fail("a threshold is of one binarization, got ", words.binarizations);
  }
  if (words.binarizations > 1 && (words.planes > 1 || words.zero_one || words.scales >= 0)) {
    fail("several binarizations have signs and scales of their own: no planes, zero_one or scales");
  }
  if (words.planes > 1 && words.threshold < 0) fail("planes ", words.planes, " need a threshold");
  if (words.planes == 1 && words.counted) fail("a counter has several planes");
  if (words.zero_one && words.pad_value != -1) {
    fail("with zero_one the padding holds 0, which is packed as pad_value -1, got ", words.pad_value);
  }
  instruction->operation = &find_operation("conv");
  instruction->parameters = {{words.weight, true}};
  for (int64_t parameter : {words.threshold, words.scales, words.weight_scales}) {
    if (parameter >= 0) instruction->parameters.push_back({parameter, false});
  }
  instruction->words = std::make_shared<ConvWords>(words);
}

extern const Operation kConv = row<Conv>("conv", true);

}  // namespace bmx
