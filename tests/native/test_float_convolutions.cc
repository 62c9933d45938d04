// Float convolutions, with every kernel and several teams of threads, and Kernel::multiply_floats alone, against plain
// loops: all bits are the same.
#include <cmath>
#include <cstring>
#include <memory>

#include "float_convolution.h"
#include "guarded.h"
#include "random.h"
#include "tests.h"

namespace {

using bmx::Layout;
using bmx::Size;
using bmx::Step;

template <typename Value>
Value any_of(const std::vector<Value>& values) {
  return values[random_below(static_cast<int64_t>(values.size()))];
}

Side any_side() { return random_word() % 2 ? Side::kFront : Side::kBack; }

// Mostly of all bits of the fraction, with few exponents: sums round at every step, and cancel. Some are denormal, or
// vanish in products.
float random_float() {
  const uint64_t word = random_word();
  if (word % 16 == 0) return word & 16 ? 0.0f : -0.0f;
  const float value = static_cast<float>(random_below(1 << 24) - (1 << 23)) / (1 << 23);
  return std::ldexp(value, static_cast<int>(word % 256 == 1 ? -140 : word % 256 == 2 ? -70 : random_below(5) - 2));
}

std::vector<float> random_floats(int64_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = random_float();
  return values;
}

// The bits, so that zeros have a sign.
bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

std::string differ(const std::string& where, float expected, float got) {
  char text[100];
  std::snprintf(text, sizeof text, ": expected %a, got %a", expected, got);
  return where + text;
}

std::string multiply(const bmx::Kernel& kernel, int64_t rows, int64_t blocks, int64_t depth) {
  constexpr int64_t kLanes = bmx::kFloatLanes;
  const int64_t block_stride = kLanes + random_below(20), columns = blocks * kLanes;
  const int64_t stride = columns + random_below(20);
  std::vector<int64_t> row_offsets(depth), column_offsets(depth);
  for (int64_t& offset : row_offsets) offset = random_below(50);
  for (int64_t& offset : column_offsets) offset = random_below(50);
  row_offsets[0] = column_offsets[0] = 49;  // the last values are read
  const Guarded<int64_t> guarded_row_offsets(row_offsets, any_side());
  const Guarded<int64_t> guarded_column_offsets(column_offsets, any_side());
  const std::vector<float> row_values = random_floats(49 + rows);
  const std::vector<float> column_values = random_floats(49 + (blocks - 1) * block_stride + kLanes);
  const Guarded<float> guarded_rows(row_values, any_side()), guarded_columns(column_values, any_side());
  Guarded<float> out((rows - 1) * stride + columns, any_side());
  kernel.multiply_floats({guarded_rows.data(), guarded_row_offsets.data(), rows, guarded_columns.data(),
                          guarded_column_offsets.data(), block_stride, columns, depth, out.data(), stride});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t at = column_offsets[k] + j / kLanes * block_stride + j % kLanes;
        sum = std::fma(row_values[row_offsets[k] + r], column_values[at], sum);
      }
      if (same(sum, out[r * stride + j])) continue;
      return differ("row " + std::to_string(r) + ", column " + std::to_string(j), sum, out[r * stride + j]);
    }
  }
  return out.intact_around() ? "" : "it writes outside of its output";
}

// Sums that come so close to the middle between two floats that double precision takes them for it.
std::string round_once(const bmx::Kernel& kernel) {
  constexpr int64_t kLanes = bmx::kFloatLanes;
  const float ulp = std::ldexp(1.0f, -23), factor = (1 + ulp) * ulp / 2, small = std::ldexp(1.0f, -126);
  const int64_t offsets[] = {0, 1}, column_offsets[] = {0, kLanes};
  for (const float sum : {1 + ulp, 1 + 3 * ulp, -1 - ulp, -1 - 3 * ulp, small, small * ulp}) {
    for (const float other : {1 - ulp, ulp - 1, small * (1 - ulp)}) {
      const float rows[] = {sum, other};
      float columns[2 * kLanes], out[kLanes];
      std::fill(columns, columns + kLanes, 1.0f);
      std::fill(columns + kLanes, columns + 2 * kLanes, factor);
      kernel.multiply_floats({rows, offsets, 1, columns, column_offsets, kLanes, kLanes, 2, out, kLanes});
      for (const float value : out) {
        const float expected = std::fma(other, factor, sum);
        if (!same(expected, value)) return differ("fma(" + std::to_string(other) + ", ...)", expected, value);
      }
    }
  }
  return "";
}

// Channels, then rows.
struct Features {
  int64_t channels;
  Size size;
  std::vector<float> values;

  float& at(int64_t c, int64_t y, int64_t x) { return values[(c * size.height + y) * size.width + x]; }
  float at(int64_t c, int64_t y, int64_t x) const { return values[(c * size.height + y) * size.width + x]; }
};

// Channels [first, first + channels) of a feature map in memory, in any layout, which holds `images` images.
class Source {
 public:
  Source(Layout layout, int64_t channels, Size size, int64_t images)
      : layout_(layout),
        first_(random_below(3)),
        channels_(channels),
        all_(first_ + channels + random_below(3)),
        size_(size),
        values_(images * all_ * size.pixels()) {
    for (float& value : values_) {
      value = layout == Layout::kShorts ? static_cast<float>(random_below(65536) - 32768) : random_float();
    }
    if (layout == Layout::kShorts) shorts_.reset(new Guarded<int16_t>(ordered<int16_t>(), any_side()));
    else floats_.reset(new Guarded<float>(ordered<float>(), any_side()));
  }

  bmx::Slice slice() const {
    const int64_t stride = layout_ == Layout::kPlanar ? size_.pixels() : all_;
    const void* begin = shorts_ ? static_cast<const void*>(shorts_->data()) : floats_->data();
    bmx::Slice whole = {layout_, channels_, stride, all_ * size_.pixels() * bmx::value_bytes(layout_),
                        const_cast<char*>(static_cast<const char*>(begin))};
    whole.data = whole.at(0, first_, 0);
    return whole;
  }

  void append(int64_t image, std::vector<float>* to) const {
    const auto begin = values_.begin() + (image * all_ + first_) * size_.pixels();
    to->insert(to->end(), begin, begin + channels_ * size_.pixels());
  }

 private:
  template <typename Value>
  std::vector<Value> ordered() const {
    std::vector<Value> ordered(values_.size());
    const int64_t pixels = size_.pixels(), image_values = all_ * pixels;
    for (int64_t i = 0; i < static_cast<int64_t>(values_.size()); ++i) {
      const int64_t image = i / image_values, c = i % image_values / pixels, p = i % pixels;
      const int64_t at = layout_ == Layout::kPlanar ? i : image * image_values + p * all_ + c;
      ordered[at] = static_cast<Value>(values_[i]);
    }
    return ordered;
  }

  Layout layout_;
  int64_t first_, channels_, all_;
  Size size_;
  std::vector<float> values_;  // planar
  std::unique_ptr<Guarded<float>> floats_;
  std::unique_ptr<Guarded<int16_t>> shorts_;
};

// Steps with random parameters.
class Steps {
 public:
  Steps(int64_t count, int64_t channels, Size size, int64_t images) : channels_(channels) {
    for (int64_t i = 0; i < count; ++i) {
      Step step = {any_of<Step::Kind>({Step::kMultiply, Step::kAdd, Step::kNormalize, Step::kRectify,
                                       Step::kParametricRectify, Step::kPlus}),
                   nullptr,
                   channels,
                   false,
                   {}};
      step.single = step.kind != Step::kNormalize && random_word() % 3 == 0;
      const int64_t values = step.kind == Step::kNormalize ? 3 * channels : step.single ? 1 : channels;
      parameters_.emplace_back(new Guarded<float>(random_floats(values), any_side()));
      step.values = parameters_.back()->data();
      const Layout layout = any_of<Layout>({Layout::kPlanar, Layout::kFloats, Layout::kShorts});
      addends_.emplace_back(step.kind == Step::kPlus ? new Source(layout, channels, size, images) : nullptr);
      if (step.kind == Step::kPlus) step.addend = addends_.back()->slice();
      steps_.push_back(step);
    }
  }

  const std::vector<Step>& steps() const { return steps_; }

  void apply(int64_t image, Features* features) const {
    const int64_t pixels = features->size.pixels();
    for (size_t i = 0; i < steps_.size(); ++i) {
      std::vector<float> addend;
      if (addends_[i]) addends_[i]->append(image, &addend);
      for (int64_t c = 0; c < channels_; ++c) {
        const float* values = steps_[i].values + (steps_[i].single ? 0 : c);
        for (int64_t p = c * pixels; p < (c + 1) * pixels; ++p) {
          float& x = features->values[p];
          switch (steps_[i].kind) {
            case Step::kMultiply: x = x * values[0]; break;
            case Step::kAdd: x = x + values[0]; break;
            case Step::kNormalize: x = (x - values[0]) * values[channels_] + values[2 * channels_]; break;
            case Step::kRectify: x = x <= 0 ? 0.0f : x; break;
            case Step::kParametricRectify: x = (x > 0 ? x : 0.0f) + (x > 0 ? 0.0f : x) * values[0]; break;
            case Step::kPlus: x = x + addend[p]; break;
          }
        }
      }
    }
  }

 private:
  int64_t channels_;
  std::vector<Step> steps_;
  std::vector<std::unique_ptr<Guarded<float>>> parameters_;
  std::vector<std::unique_ptr<Source>> addends_;
};

// A convolution with all that it reads, and what it has to result in.
class Problem {
 public:
  Problem(const bmx::FloatConvolution& conv, int64_t before, int64_t after)
      : conv_(conv),
        images_(1 + random_below(2)),
        before_(before, conv.channels, conv.image, images_),
        steps_(after, conv.filters, conv.out(), images_),
        planar_(random_word() % 2) {
    for (int64_t left = conv.channels, count; left > 0; left -= count) {
      count = std::min(left, random_word() % 2 ? left : 1 + random_below(left));
      const Layout layout = any_of<Layout>({Layout::kPlanar, Layout::kFloats, Layout::kShorts});
      sources_.emplace_back(new Source(layout, count, conv.image, images_));
    }
    const std::vector<float> weight = random_floats(conv.filters * conv.depth());
    weight_.reset(new Guarded<float>(packed(weight), any_side()));
    for (int64_t image = 0; image < images_; ++image) expected_.push_back(convolve(image, weight));
  }

  std::string text() const {
    const auto of = [](Size size) { return std::to_string(size.height) + "x" + std::to_string(size.width); };
    const bmx::Window& window = conv_.window;
    return "image " + of(conv_.image) + ", window " + of(window.size) + ", stride " + of(window.stride) + ", pad " +
           of(window.pad) + ", dilate " + of(window.dilate) + ", channels " + std::to_string(conv_.channels) +
           ", filters " + std::to_string(conv_.filters) + ", groups " + std::to_string(conv_.groups);
  }

  // What is wrong with the kernel's result; empty if nothing.
  std::string run(const bmx::Kernel& kernel, int threads) const {
    const int64_t pixels = conv_.out().pixels(), values = conv_.filters * pixels;
    Guarded<float> out(images_ * values, any_side());
    Guarded<char> memory(conv_.thread_bytes() * threads, any_side(), 64);
    std::vector<bmx::Slice> in;
    for (const auto& source : sources_) in.push_back(source->slice());
    const bmx::Slice to = {planar_ ? Layout::kPlanar : Layout::kFloats, conv_.filters, planar_ ? pixels : conv_.filters,
                           values * 4, reinterpret_cast<char*>(out.data())};
    const bmx::FloatConvolutionTask task(
        conv_, {kernel, in, before_.steps(), steps_.steps(), to, {weight_->data()}, nullptr, nullptr, memory.data()});
    team_of(threads)->run([&] {
      for (int64_t image = 0; image < images_; ++image) task.run(image);
    });
    for (int64_t i = 0; i < images_ * values; ++i) {
      const int64_t image = i / values, c = i % values / pixels, p = i % pixels;
      const float got = out[planar_ ? i : image * values + p * conv_.filters + c];
      const float value = expected_[image].values[i % values];
      if (same(value, got)) continue;
      return differ("filter " + std::to_string(c) + ", pixel " + std::to_string(p), value, got);
    }
    return out.intact_around() && memory.intact_around() ? "" : "it writes outside of its memory";
  }

 private:
  std::vector<float> packed(const std::vector<float>& weight) const {
    const std::vector<int64_t> shape = conv_.weights().shape();
    std::vector<float> packed(shape[0] * shape[1] * shape[2] * shape[3]);
    for (int64_t o = 0; o < conv_.filters; ++o) {
      const int64_t group = o / conv_.group_filters(), filter = o % conv_.group_filters();
      for (int64_t k = 0; k < shape[2]; ++k) {
        packed[((group * shape[1] + filter / shape[3]) * shape[2] + k) * shape[3] + filter % shape[3]] =
            weight[o * shape[2] + k];
      }
    }
    return packed;
  }

  Features convolve(int64_t image, const std::vector<float>& weight) const {
    Features in = {conv_.channels, conv_.image, {}};
    for (const auto& source : sources_) source->append(image, &in.values);
    before_.apply(image, &in);
    const bmx::Window& window = conv_.window;
    Features out = {conv_.filters, conv_.out(), std::vector<float>(conv_.filters * conv_.out().pixels())};
    for (int64_t o = 0; o < conv_.filters; ++o) {
      const int64_t first = o / conv_.group_filters() * conv_.group_channels();
      for (int64_t y = 0; y < out.size.height; ++y) {
        for (int64_t x = 0; x < out.size.width; ++x) {
          const float* w = weight.data() + o * conv_.depth();
          float sum = 0;
          for (int64_t c = first; c < first + conv_.group_channels(); ++c) {
            for (int64_t i = 0; i < window.size.height; ++i) {
              for (int64_t j = 0; j < window.size.width; ++j, ++w) {
                const int64_t in_y = y * window.stride.height - window.pad.height + i * window.dilate.height;
                const int64_t in_x = x * window.stride.width - window.pad.width + j * window.dilate.width;
                const bool inside = in_y >= 0 && in_y < conv_.image.height && in_x >= 0 && in_x < conv_.image.width;
                sum = std::fma(inside ? in.at(c, in_y, in_x) : 0.0f, *w, sum);
              }
            }
          }
          out.at(o, y, x) = sum;
        }
      }
    }
    steps_.apply(image, &out);
    return out;
  }

  bmx::FloatConvolution conv_;
  int64_t images_;
  Steps before_, steps_;
  bool planar_;
  std::vector<std::unique_ptr<Source>> sources_;
  std::unique_ptr<Guarded<float>> weight_;
  std::vector<Features> expected_;
};

bmx::FloatConvolution any_convolution() {
  constexpr int64_t kMostWork = 300000;
  bmx::FloatConvolution conv;
  bmx::Window& window = conv.window;
  conv.image = any_of<Size>({{1, 1}, {1, 16}, {70, 1}, {4, 5}, {7, 7}, {8, 8}, {9, 13}, {14, 14}, {33, 17}, {3, 1100}});
  window.size = any_of<Size>({{1, 1}, {1, 1}, {3, 3}, {3, 3}, {1, 3}, {5, 2}, {7, 7}, conv.image});
  if (window.size.pixels() > 1000) window.size = {3, 2};
  window.stride = any_of<Size>({{1, 1}, {1, 1}, {2, 2}, {2, 1}, {1, 3}, {9, 8}});
  window.dilate = any_of<Size>({{1, 1}, {1, 1}, {2, 2}, {1, 3}, {4, 2}});
  window.pad = any_of<Size>({{0, 0}, {0, 0}, {1, 1}, {1, 1}, {1, 2}, {3, 3}, {4, 9}, {8, 1}});
  while (window.reach().height > window.padded(conv.image).height) window.pad.height++;
  while (window.reach().width > window.padded(conv.image).width) window.pad.width++;
  conv.groups = any_of<int64_t>({1, 1, 1, 2, 5, 33});
  const bool depthwise = random_word() % 8 == 0;
  const int64_t channels = any_of<int64_t>({1, 3, 4, 15, 16, 17, 64, 150});
  const int64_t filters = random_word() % 3 ? 1 + random_below(17) : any_of<int64_t>({24, 31, 32, 33, 63, 96, 97, 200});
  conv.channels = conv.groups * (depthwise ? 1 : channels);
  conv.filters = conv.groups * (depthwise ? 1 : filters);
  if (conv.filters * conv.depth() * conv.out().pixels() > kMostWork) return any_convolution();
  return conv;
}

// Shapes that chance seldom draws: image, kernel, pad, channels, filters.
struct Shape {
  Size image, window, pad;
  int64_t channels, filters;
};
const Shape kShapes[] = {
    {{3, 17}, {3, 5}, {0, 2}, 2, 3},  // a single row of outputs, which threads share, of several rows of inputs
    {{3, 33}, {3, 3}, {0, 1}, 5, 17},  {{1, 2000}, {1, 1}, {0, 0}, 120, 9},  // pixels that need several rectangles
    {{2, 1000}, {1, 7}, {1, 3}, 3, 9}, {{40, 12}, {3, 3}, {1, 1}, 130, 2},
};

}  // namespace

void test_float_convolutions(std::vector<Contestant>* contestants, int64_t thinning) {
  const auto test = [&](const std::string& name, const auto& run) {
    run_case(contestants, &Contestant::float_convolutions, name, run);
  };
  test("multiply_floats, sums near the middle of floats",
       [&](const bmx::Kernel& kernel, int) { return round_once(kernel); });
  for (const Shape& shape : kShapes) {
    bmx::Window window;
    window.size = shape.window;
    window.pad = shape.pad;
    const Problem problem({shape.image, window, shape.channels, shape.filters, 1}, 0, 1);
    test("float convolution, " + problem.text(), [&](const bmx::Kernel& kernel, int) {
      for (int threads = 1; threads <= 3; ++threads) {
        const std::string wrong = problem.run(kernel, threads);
        if (!wrong.empty()) return wrong;
      }
      return std::string();
    });
  }
  for (int64_t rows = 1; rows <= 18; ++rows) {
    for (int64_t blocks = 1; blocks <= 18; ++blocks) {
      if (random_below(thinning)) continue;
      const int64_t depth = 1 + random_below(9);
      test("multiply_floats, rows " + std::to_string(rows) + ", blocks of columns " + std::to_string(blocks) +
               ", depth " + std::to_string(depth),
           [&](const bmx::Kernel& kernel, int) { return multiply(kernel, rows, blocks, depth); });
    }
  }
  for (int64_t i = 0; i < 1200; ++i) {
    if (random_below(thinning)) continue;
    const Problem problem(any_convolution(), random_below(3), random_below(3));
    test("float convolution, " + problem.text(),
         [&](const bmx::Kernel& kernel, int threads) { return problem.run(kernel, threads); });
  }
}
