// The operation `map`: elementwise steps, pooling between them, a shuffle (map.h).
#include "error.h"
#include "map.h"
#include "operations.h"

namespace bmx {
namespace {

struct MapOperation {
  struct Words {
    Pool pool = Pool::kNone;
    bool global = false;  // the window is the image
    Window window;
    int64_t groups = 1;  // of the shuffle
    bool count_pad = false;
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
    if (pooled) reader->flag("global", &words.global);
    if (pooled && !words.global) parse_window(reader, &words);
    instruction->words = std::make_shared<Words>(words);
  }

  static Problem infer(const Words& words, Inference* inference) {
    if (inference->channels % words.groups) {
      fail("shuffle ", words.groups, " does not divide the ", inference->channels, " channels");
    }
    if (words.groups > 1) check_not_in_place(inference->instruction);
    Map map = {inference->image, words.pool, words.window, words.groups, words.count_pad};
    if (words.global) map.window.size = map.image;
    if (words.pool != Pool::kNone) inference->out.size = inference->slide(map.window, 1);
    return map;
  }

  static bool has_rows_of_its_own(const Problem& map) {
    return map.pool == Pool::kNone || bmx::has_rows_of_its_own(map.window, map.image);
  }

  // What a shuffle writes is not a part of the result.
  static Part part(const Problem& map, int64_t) {
    return {map.groups == 1 ? std::make_shared<Problem>(map) : nullptr, true};
  }

  static Memory memory(const Problem& map, const Kernel&) { return {0, 0, map.thread_bytes()}; }

  static double work(const Problem& map) {
    return map.pool == Pool::kNone ? 1 : static_cast<double>(map.window.taps());
  }

  static std::unique_ptr<Task> bind(const Problem& map, const Binding& binding) {
    return make_task<MapTask>(map, binding);
  }

 private:
  static void parse_window(Reader* reader, Words* words) {
    reader->window(&words->window);
    reader->flag("full", &words->window.full);
    if (words->pool == Pool::kAverage) reader->flag("count_pad", &words->count_pad);
    const Size size = words->window.size, pad = words->window.pad;
    if (pad.height >= size.height || pad.width >= size.width) {
      fail("pad ", pad.height, ",", pad.width, " must be smaller than kernel ", size.height, ",", size.width);
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
