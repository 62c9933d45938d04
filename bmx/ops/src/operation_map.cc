// The operation `map`: elementwise steps, pooling between them, a shuffle (map.h).
#include "error.h"
#include "map.h"
#include "operations.h"

namespace bmx {
namespace {

struct MapOperation {
  struct Words {
    Pool pool = Pool::kNone;
    Window window;
    int64_t groups = 1;  // of the shuffle
  };
  using Problem = Map;

  static void parse(Reader* reader, Instruction* instruction) {
    Words words;
    if (reader->integer("shuffle", 1, &words.groups) && instruction->out.layout != Layout::kPlanar) {
      fail("only a planar result can be shuffled");
    }
    const bool pooled = reader->pool("pool", &words.pool);
    // without pooling there is nothing between them
    reader->steps("before", pooled ? &instruction->before : &instruction->steps);
    if (pooled) parse_window(reader, &words.window);
    instruction->words = std::make_shared<Words>(words);
  }

  static Problem infer(const Words& words, Inference* inference) {
    if (inference->channels % words.groups) {
      fail("shuffle ", words.groups, " does not divide the ", inference->channels, " channels");
    }
    if (words.groups > 1) check_not_in_place(inference->instruction);
    if (words.pool != Pool::kNone) inference->out.size = inference->slide(words.window, 1);
    return {inference->image, words.pool, words.window, words.groups};
  }

  static Memory memory(const Problem& map, const Kernel&) { return {0, 0, map.thread_bytes()}; }

  static double work(const Problem& map) {
    return map.pool == Pool::kNone ? 1 : static_cast<double>(map.window.taps());
  }

  static std::unique_ptr<Task> bind(const Problem& map, const Binding& binding) {
    return std::unique_ptr<Task>(new MapTask(map, binding));
  }

 private:
  static void parse_window(Reader* reader, Window* window) {
    reader->require("kernel");
    reader->size("kernel", 1, &window->kernel);
    reader->size("stride", 1, &window->stride);
    reader->size("pad", 0, &window->pad);
    reader->flag("full", &window->full);
    const Size kernel = window->kernel, pad = window->pad;
    if (pad.height >= kernel.height || pad.width >= kernel.width) {
      fail("pad ", pad.height, ",", pad.width, " must be smaller than kernel ", kernel.height, ",", kernel.width);
    }
  }

  // A shuffle writes elsewhere than it reads.
  static void check_not_in_place(const Instruction& instruction) {
    for (const StepText& step : instruction.steps) {
      if (step.kind == Step::kPlus && instruction.out.holds(step.addend)) {
        fail("adds ", text(step.addend), " in place, but shuffles");
      }
    }
  }
};

}  // namespace

extern const Operation kMap = row<MapOperation>("map", false);

}  // namespace bmx
