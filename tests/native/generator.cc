#include "generator.h"

#include <algorithm>
#include <climits>

#include "programs.h"
#include "residual.h"

namespace {

constexpr int64_t kMaxShort = 32767;

std::string slice_text(const std::string& name, int64_t begin, int64_t end) {
  return name + "[" + std::to_string(begin) + ":" + std::to_string(end) + "]";
}

// A data input or slot that can be read.
struct Tensor {
  std::string name, type;
  int64_t channels;
  Size size;
  int64_t largest;  // of an int16 value
};

class Generator {
 public:
  Draft run() {
    Draft draft;
    const Size size = any_of<Size>({{1, 1}, {1, 9}, {2, 2}, {5, 6}, {7, 7}, {4, 17}, {9, 13}, {12, 30}});
    for (int64_t i = 1 + random_below(3); i > 0; --i) {
      const bool same = random_below(4) != 0;
      const Size own = same ? size : any_of<Size>({{1, 1}, {3, 4}, {5, 6}});
      const int64_t channels = sometimes(60) ? any_of<int64_t>({kMaxShort - 1, kMaxShort, 4096}) : draw_channels();
      if (channels > 1000 && own.pixels() > 1) continue;
      draft.data.push_back({bmx::Layout::kPlanar, channels, own, 0});
    }
    if (draft.data.empty()) return run();
    for (size_t i = 0; i < draft.data.size(); ++i) {
      tensors_.push_back({"x" + std::to_string(i), "planar", draft.data[i].channels, draft.data[i].size, 0});
    }
    draft.num_outputs = 1 + random_below(3);
    for (int64_t i = random_below(5); i > 0; --i) add(-1);
    for (int64_t y = 0; y < draft.num_outputs; ++y) add(y);
    draft.text = text_;
    return draft;
  }

 private:
  static int64_t draw_channels() {
    return any_of<int64_t>({1, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 130});
  }

  static int64_t draw_planes() { return any_of<int64_t>({1, 1, 2, 2, 3, 4, bmx::kMaxPlanes}); }

  std::string parameter() { return "p" + std::to_string(parameters_++); }

  // Channels of tensors of one size, concatenated.
  std::string draw_input(Size* size, int64_t* channels) {
    *size = any_of(tensors_).size;
    *channels = 0;
    std::string text;
    for (int64_t i = 1 + random_below(3); i > 0; --i) {
      const Tensor tensor = any_of(tensors_);
      if (!(tensor.size == *size)) {
        i += *channels == 0;  // one there must be
        continue;
      }
      if (*channels > 0 && *channels + tensor.channels > 300) continue;
      const int64_t begin = sometimes(2) ? 0 : random_below(tensor.channels);
      const int64_t end = sometimes(2) ? tensor.channels : begin + 1 + random_below(tensor.channels - begin);
      text += (text.empty() ? "" : ",") + slice_text(tensor.name, begin, end);
      *channels += end - begin;
    }
    return text;
  }

  // Steps for a feature map. `slot`: the one that is written; with `in_place` it may be added as a whole.
  std::string draw_steps(int64_t channels, Size size, const std::string& slot, bool in_place, bool shorts,
                         int64_t* largest) {
    std::string text;
    for (int64_t i = random_below(4); i > 0; --i) {
      std::string step;
      if (shorts || sometimes(3)) {
        const Tensor tensor = any_of(tensors_);
        const bool whole = tensor.name == slot;
        if (!(tensor.size == size) || tensor.channels < channels || (whole && !in_place)) continue;
        if (shorts && (tensor.type != "int16" || *largest + tensor.largest > kMaxShort)) continue;
        const int64_t begin = whole ? 0 : random_below(tensor.channels - channels + 1);
        if (whole && tensor.channels != channels) continue;
        step = "plus:" + slice_text(tensor.name, begin, begin + channels);
        *largest += tensor.largest;
      } else if (sometimes(4)) {
        const Tensor tensor = any_of(tensors_);
        int64_t own = 1 + random_below(std::min(tensor.channels, channels));
        while (channels % own) --own;
        if (!(tensor.size == size) || tensor.name == slot) continue;
        const int64_t begin = random_below(tensor.channels - own + 1);
        step = "repeat:" + slice_text(tensor.name, begin, begin + own);
      } else {
        step = any_of<std::string>({"mul", "add", "norm", "relu", "prelu"});
        if (step != "relu") step += ":" + parameter();
      }
      text += (text.empty() ? "" : "|") + step;
    }
    return text;
  }

  // Writes output y, or a slot where y is negative.
  void add(int64_t y) {
    for (const int64_t before = parameters_; !try_to_add(y);) parameters_ = before;
  }

  // One attempt; false where what was drawn does not fit together.
  bool try_to_add(int64_t y) {
    Size size;
    int64_t channels;
    const std::string in = draw_input(&size, &channels);
    const std::string kind = any_of<std::string>({"conv", "conv", "fconv", "map", "map"});
    Tensor out;
    out.type = y >= 0 ? "planar" : any_of<std::string>({"int16", "float32", "planar"});
    if (kind != "conv" && out.type == "int16") out.type = "float32";
    out.name = y >= 0 ? "y" + std::to_string(y) : any_of<std::string>({"s0", "s1", "s2", "s7", "s65535"});
    out.channels = channels;
    out.size = size;
    out.largest = 0;
    std::string text = kind == "map" ? pool(size, channels, &out) : convolve(kind, size, channels, &out);
    if (text.empty()) return false;
    // a slot may be replaced by what its own values are added to
    const auto old =
        std::find_if(tensors_.begin(), tensors_.end(), [&](const Tensor& each) { return each.name == out.name; });
    const bool replaces = old != tensors_.end();
    if (kind != "conv" && replaces && (text + in).find(out.name + "[") != std::string::npos) return false;
    const bool shuffles = text.find(" shuffle=") != std::string::npos;
    const bool in_place = replaces && old->type == out.type && old->channels == out.channels && !shuffles;
    const std::string steps = draw_steps(out.channels, out.size, out.name, in_place, out.type == "int16", &out.largest);
    const std::string type = y < 0 ? ":" + out.type : sometimes(5) ? ":flat" : "";
    text_ += kind + " in=" + in + " out=" + out.name + type + text + (steps.empty() ? "" : " steps=" + steps) +
             (sometimes(2) ? ";" : " ; ");
    if (y >= 0) return true;
    if (replaces) tensors_.erase(old);
    tensors_.push_back(out);
    return true;
  }

  // The size of sliding a window with options; false where it does not fit.
  static bool slide(const bmx::Window& window, Size size, Size* out) {
    const Size reach = window.reach(), padded = window.padded(size);
    if (reach.height > padded.height || reach.width > padded.width) return false;
    *out = window.out(size);
    return true;
  }

  std::string convolve(const std::string& kind, Size size, int64_t channels, Tensor* out) {
    bmx::Window window;
    window.size = any_of<Size>({{1, 1}, {3, 3}, {3, 3}, {1, 3}, {5, 2}, {2, 5}, {7, 7}});
    window.stride = any_of<Size>({{1, 1}, {1, 1}, {1, 2}, {2, 1}, {2, 2}, {3, 3}, {INT_MAX, INT_MAX}});
    window.dilate = any_of<Size>({{1, 1}, {1, 1}, {2, 2}, {1, 3}, {1, 40}});
    window.pad = any_of<Size>({{0, 0}, {1, 1}, {1, 1}, {3, 0}, {2, 5}, {20, 20}});
    if (channels > 1000) window.size = {1, 1};
    if (!slide(window, size, &out->size)) return "";
    int64_t groups = any_of<int64_t>({1, 1, 1, 2, 3, 4, 8, channels, (channels + 1) / 2});
    while (channels % groups) --groups;
    const int64_t filters = groups * any_of<int64_t>({1, 1, 2, 3, 8, 16, 17, 64, 65});
    if (filters > 400 || filters * out->size.pixels() > 20000) return "";
    const int64_t taps = window.taps() * (channels / groups);
    const bool shorts = out->type == "int16";
    if (shorts && taps > kMaxShort) return "";
    out->channels = filters;
    out->largest = taps;
    std::vector<std::string> words = {"weight=" + parameter(), "kernel=" + text_of(window.size),
                                      "filters=" + std::to_string(filters)};
    const auto option = [&](bool missing, const std::string& word) {
      if (!missing || sometimes(4)) words.push_back(word);
    };
    option(window.stride == Size{1, 1}, "stride=" + text_of(window.stride));
    option(window.pad == Size{0, 0}, "pad=" + text_of(window.pad));
    option(window.dilate == Size{1, 1}, "dilate=" + text_of(window.dilate));
    option(groups == 1, "groups=" + std::to_string(groups));
    if (kind == "fconv") {
      draw_before(size, channels, *out, &words);
      return in_any_order(words);
    }
    const auto count = [&](const std::string& name, int64_t value) {
      option(value == 1, name + "=" + std::to_string(value));
    };
    const auto optional = [&](const std::string& name) { words.push_back(name + "=" + parameter()); };
    const bool scaled = !shorts && sometimes(2);
    const int64_t binarizations = scaled && sometimes(2) ? draw_planes() : 1;
    const int64_t planes = scaled && binarizations == 1 ? draw_planes() : 1;
    const bool zero_one = binarizations == 1 && sometimes(4);
    const int64_t pad_value = zero_one ? -1 : random_below(3) - 1;
    count("binarizations", binarizations);
    count("planes", planes);
    count("weight_planes", scaled ? draw_planes() : 1);
    if (planes > 1 && planes < 6 && sometimes(2)) words.push_back("counted=1");
    option(!zero_one, "zero_one=" + std::to_string(zero_one));
    option(pad_value == -1, "pad_value=" + std::to_string(pad_value));
    if (planes > 1 || (binarizations == 1 && sometimes(2))) optional("threshold");
    if (scaled && binarizations == 1 && sometimes(2)) optional("scales");
    if (scaled && sometimes(2)) optional("weight_scales");
    return in_any_order(words);
  }

  std::string pool(Size size, int64_t channels, Tensor* out) {
    std::vector<std::string> words;
    if (out->type == "planar" && sometimes(3)) {
      const int64_t groups = any_of<int64_t>({1, 2, 3, 4, channels});
      if (channels % groups) return "";
      words.push_back("shuffle=" + std::to_string(groups));
    }
    draw_before(size, channels, *out, &words);
    if (sometimes(8)) {
      out->size = {1, 1};
      words.push_back("pool=" + any_of<std::string>({"max", "avg"}));
      words.push_back("global=1");
    } else if (sometimes(2)) {
      bmx::Window window;
      window.size = any_of<Size>({{1, 1}, {2, 2}, {3, 3}, {2, 1}, {1, 5}, {7, 7}});
      window.stride = any_of<Size>({{1, 1}, {2, 2}, {1, 3}, {5, 5}, {9, 2}, {INT_MAX, 1}});
      window.pad = any_of<Size>({{0, 0}, {0, 0}, {1, 1}, {window.size.height - 1, window.size.width - 1}});
      window.full = sometimes(2);
      if (window.pad.height >= window.size.height || window.pad.width >= window.size.width) return "";
      if (!slide(window, size, &out->size)) return "";
      const bool average = sometimes(2);
      words.push_back(average ? "pool=avg" : "pool=max");
      if (average && sometimes(2)) words.push_back("count_pad=1");
      words.push_back("kernel=" + text_of(window.size));
      words.push_back("stride=" + text_of(window.stride));
      words.push_back("pad=" + text_of(window.pad));
      if (window.full || sometimes(2)) words.push_back("full=" + std::to_string(window.full));
    }
    return words.empty() ? " " : in_any_order(words);
  }

  void draw_before(Size size, int64_t channels, const Tensor& out, std::vector<std::string>* words) {
    if (!sometimes(3)) return;
    int64_t largest = 0;
    const std::string before = draw_steps(channels, size, out.name, false, false, &largest);
    if (!before.empty()) words->push_back("before=" + before);
  }

  static std::string in_any_order(std::vector<std::string> words) {
    std::string text;
    for (size_t i = words.size(); i > 0; --i) {
      std::swap(words[i - 1], words[random_below(static_cast<int64_t>(i))]);
      text += " " + words[i - 1];
    }
    return text;
  }

  std::string text_;
  std::vector<Tensor> tensors_;
  int64_t parameters_ = 0;
};

const std::vector<int64_t> kLimits = {0,       1,
                                      2,       3,
                                      7,       8,
                                      9,       15,
                                      16,      17,
                                      31,      33,
                                      63,      64,
                                      65,      127,
                                      255,     256,
                                      4096,    32767,
                                      32768,   65535,
                                      65536,   (1 << 24) - 1,
                                      1 << 24, (1 << 24) + 1,
                                      1 << 30, INT_MAX - 1,
                                      INT_MAX};

std::string draw_number() {
  static const std::vector<std::string> beyond = {"-1",
                                                  "2147483648",
                                                  "4294967295",
                                                  "4294967296",
                                                  "4611686018427387904",
                                                  "9223372036854775807",
                                                  "9223372036854775808",
                                                  "-9223372036854775809",
                                                  "99999999999999999999999",
                                                  "",
                                                  "+1",
                                                  " 1",
                                                  "0x10",
                                                  "1e3",
                                                  "1.5",
                                                  "00"};
  return sometimes(4) ? any_of(beyond) : std::to_string(any_of(kLimits));
}

// Where words, or numbers, are in a text: begin and end of each.
std::vector<std::pair<size_t, size_t>> find(const std::string& text, const char* made_of) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t end = 0;;) {
    const size_t begin = text.find_first_of(made_of, end);
    if (begin == std::string::npos) return found;
    end = std::min(text.find_first_not_of(made_of, begin), text.size());
    found.emplace_back(begin, end);
  }
}

void replace(const std::vector<std::pair<size_t, size_t>>& places, const std::string& by, std::string* text) {
  if (places.empty()) return;
  const auto place = any_of(places);
  text->replace(place.first, place.second - place.first, by);
}

void damage_text(std::string* text) {
  static const char* const digits = "0123456789";
  static const std::string word_letters = "abcdefghijklmnopqrstuvwxyz_0123456789=:,|[]-";
  static const std::vector<std::string> words = {"conv",
                                                 "fconv",
                                                 "map",
                                                 "in=x0[0:1]",
                                                 "in=s0[0:1]",
                                                 "out=y0",
                                                 "out=y0:flat",
                                                 "out=s0:int16",
                                                 "out=s65535:planar",
                                                 "out=s1:float32",
                                                 "weight=p0",
                                                 "threshold=p0",
                                                 "kernel=1,1",
                                                 "kernel=4096,4096",
                                                 "stride=2147483647,1",
                                                 "pad=2147483647,0",
                                                 "dilate=2147483647,2147483647",
                                                 "filters=2147483647",
                                                 "groups=2147483647",
                                                 "pad_value=0",
                                                 "binarizations=8",
                                                 "planes=2",
                                                 "planes=8",
                                                 "counted=1",
                                                 "zero_one=1",
                                                 "weight_planes=8",
                                                 "scales=p1",
                                                 "weight_scales=p1",
                                                 "steps=relu",
                                                 "steps=plus:x0[0:1]",
                                                 "steps=norm:p65535",
                                                 "before=relu",
                                                 "pool=max",
                                                 "pool=avg",
                                                 "full=1",
                                                 "global=1",
                                                 "count_pad=1",
                                                 "shuffle=2",
                                                 "=",
                                                 "",
                                                 "steps=",
                                                 "before=prelu:p0|prelu:p0",
                                                 "in=x0[0:2147483647],x0[0:2147483647]"};
  const int64_t size = static_cast<int64_t>(text->size());
  const size_t at = static_cast<size_t>(random_below(size + 1));
  const size_t length = std::min<size_t>(text->size() - at, static_cast<size_t>(1 + random_below(8)));
  switch (random_below(14)) {
    case 0: return static_cast<void>(text->erase(at, length));
    case 1: return static_cast<void>(text->insert(at, 1, static_cast<char>(random_below(256))));
    case 2: return static_cast<void>(text->insert(at, text->substr(at, 10 * length)));
    case 3: return replace(find(*text, word_letters.c_str()), any_of(words), text);
    case 4: return static_cast<void>(text->insert(at, " " + any_of(words) + " "));
    case 5: {  // an instruction twice, or another program
      const size_t end = std::min(text->find(';'), text->size());
      return static_cast<void>(text->append(";" + (sometimes(2) ? text->substr(0, end) : draw_program().text)));
    }
    case 6:
    case 7: return replace(find(*text, digits), draw_number(), text);
    default: return replace(find(*text, digits), std::to_string(random_below(10)), text);
  }
}

}  // namespace

Draft draw_program() { return Generator().run(); }

void damage(Draft* draft) {
  for (int64_t i = any_of<int64_t>({1, 1, 1, 2, 4}); i > 0; --i) damage_text(&draft->text);
  if (!sometimes(4)) return;
  bmx::Feature& data = sometimes(2) ? draft->data.front() : draft->data.back();
  *any_of<int64_t*>({&data.channels, &data.size.height, &data.size.width}) = any_of(kLimits);
}
