// Gradients of convolutions of signs, with every kernel and several teams of threads, against plain loops in float64;
// all kernels and teams give the same bits. And what they are made of, Kernel::make_sign_tables and add_signed.
#include <cmath>
#include <cstring>

#include "gradients.h"
#include "guarded.h"
#include "random.h"
#include "tests.h"

namespace {

using bmx::Size;

template <typename Value>
Value any_of(const std::vector<Value>& values) {
  return values[random_below(static_cast<int64_t>(values.size()))];
}

Side any_side() { return random_word() % 2 ? Side::kFront : Side::kBack; }

// Small integers, whose sums are exact, or of all bits of the fraction.
std::vector<float> random_floats(int64_t count, bool integers) {
  std::vector<float> values(count);
  for (float& value : values) {
    value = integers ? static_cast<float>(random_below(9) - 4)
                     : std::ldexp(static_cast<float>(random_below(1 << 24) - (1 << 23)),
                                  static_cast<int>(random_below(5)) - 25);
  }
  return values;
}

// Of any magnitude; a zero of either sign is +1.
std::vector<float> random_signs(int64_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = any_of<float>({1, -1, 1, -1, 0, -0.0f, 0.5f, -1e-40f});
  return values;
}

int sign(float value) { return value >= 0 ? 1 : -1; }

std::string differ(const std::string& where, double expected, float got) {
  char text[100];
  std::snprintf(text, sizeof text, ": expected %.9g, got %.9g", expected, static_cast<double>(got));
  return where + text;
}

std::string make_tables(const bmx::Kernel& kernel, int64_t values, int64_t tables) {
  const int64_t value_stride = 1 + random_below(9), step = 1 + random_below(9), stride = 16 * (1 + random_below(3));
  const std::vector<float> given = random_floats((values - 1) * value_stride + (tables - 1) * step + 1, false);
  const Guarded<float> first(given, any_side());
  Guarded<float> out((tables - 1) * stride + bmx::kSignEntries, any_side(), 64);
  kernel.make_sign_tables({first.data(), value_stride, step, values, tables, out.data(), stride});
  for (int64_t t = 0; t < tables; ++t) {
    for (int bits = 0; bits < 16; ++bits) {
      float x[4] = {};
      for (int64_t i = 0; i < values; ++i) x[i] = (bits >> i & 1 ? 1 : -1) * given[i * value_stride + t * step];
      const float front = x[0] + x[1], back = x[2] + x[3], sum = front + back;
      const float got = out[t * stride + bmx::sign_index(bits)];
      if (sum != got) return differ("table " + std::to_string(t) + ", signs " + std::to_string(bits), sum, got);
    }
  }
  return "";
}

// Tables that `make_sign_tables` could have made: the upper entries are the negatives of the lower ones.
std::string add_signed(const bmx::Kernel& kernel, int64_t rows, int64_t blocks, int64_t depth, bool begins) {
  const int64_t columns = blocks * bmx::kFloatLanes, row_stride = 16 * (1 + random_below(4)), kTables = 8;
  const int64_t stride = columns + random_below(20);
  std::vector<float> tables = random_floats((rows - 1) * row_stride + kTables * bmx::kSignEntries, false);
  for (size_t i = 0; i < tables.size(); ++i) {
    if (i % 16 >= 8) tables[i] = -tables[i - 8];
  }
  std::vector<int64_t> table_offsets(depth), index_offsets(depth);
  for (int64_t& offset : table_offsets) offset = 16 * random_below(kTables);
  for (int64_t& offset : index_offsets) offset = random_below(50);
  index_offsets[0] = 49;  // the last ones are read
  std::vector<uint8_t> indices(49 + columns);
  for (uint8_t& index : indices) index = static_cast<uint8_t>(random_below(16));
  const Guarded<float> guarded_tables(tables, any_side());
  const Guarded<uint8_t> guarded_indices(indices, any_side());
  const Guarded<int64_t> guarded_table_offsets(table_offsets, any_side());
  const Guarded<int64_t> guarded_index_offsets(index_offsets, any_side());
  Guarded<float> out((rows - 1) * stride + columns, any_side());
  const std::vector<float> before = random_floats((rows - 1) * stride + columns, false);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(&before[r * stride], columns, &out[r * stride]);
  kernel.add_signed({guarded_tables.data(), guarded_table_offsets.data(), row_stride, rows, guarded_indices.data(),
                     guarded_index_offsets.data(), columns, depth, begins, out.data(), stride});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float sum = begins ? 0 : before[r * stride + j];
      for (int64_t k = 0; k < depth; ++k) {
        sum = sum + tables[r * row_stride + table_offsets[k] + indices[index_offsets[k] + j]];
      }
      if (sum == out[r * stride + j]) continue;
      return differ("row " + std::to_string(r) + ", column " + std::to_string(j), sum, out[r * stride + j]);
    }
  }
  return out.intact_around() ? "" : "it writes outside of its output";
}

struct Sum {
  double value = 0, magnitude = 0;
  int64_t count = 0;

  void add(double term) {
    value += term;
    magnitude += std::fabs(term);
    ++count;
  }
  // Every addition rounds what is at most the sum of magnitudes.
  bool allows(float got, bool integers) const {
    const double bound = integers ? 0 : static_cast<double>(count + 4) * magnitude * std::ldexp(1.0, -24);
    return std::fabs(got - value) <= bound;
  }
};

class Problem {
 public:
  Problem(const bmx::GradientProblem& problem, bool integers)
      : problem_(problem),
        integers_(integers),
        data_(random_signs(problem.images * problem.channels * problem.image.pixels())),
        weight_(random_signs(problem.filters * problem.group_channels() * problem.window.taps())),
        gradient_(random_floats(problem.images * problem.filters * problem.out().pixels(), integers)),
        data_sums_(data_.size()),
        weight_sums_(weight_.size()) {
    add_up();
  }

  std::string text() const {
    const auto of = [](Size size) { return bmx::text(size); };
    const bmx::Window& window = problem_.window;
    return "images " + std::to_string(problem_.images) + " of " + of(problem_.image) + ", window " + of(window.size) +
           ", stride " + of(window.stride) + ", pad " + of(window.pad) + " of " + std::to_string(problem_.pad_value) +
           ", dilate " + of(window.dilate) + ", channels " + std::to_string(problem_.channels) + ", filters " +
           std::to_string(problem_.filters) + ", groups " + std::to_string(problem_.groups) +
           (problem_.planar ? "" : ", channels adjacent");
  }

  // What is wrong with the kernel's result; empty if nothing.
  std::string run(const bmx::Kernel& kernel, int threads) {
    Guarded<float> data_gradient(static_cast<int64_t>(data_.size()), any_side());
    Guarded<float> weight_gradient(static_cast<int64_t>(weight_.size()), any_side());
    const Guarded<float> data(data_, any_side()), weight(weight_, any_side()), gradient(gradient_, any_side());
    const bmx::Gradients gradients(problem_, kernel, team_of(threads));
    Guarded<char> workspace(gradients.workspace_bytes(), any_side(), 1);
    gradients.run({data.data(), weight.data(), gradient.data(), data_gradient.data(), weight_gradient.data()},
                  workspace.data());
    if (!data_gradient.intact_around() || !weight_gradient.intact_around() || !workspace.intact_around()) {
      return "it writes outside of its memory";
    }
    const std::string wrong = compare("data", data_sums_, data_gradient.data(), &first_data_);
    return wrong.empty() ? compare("weight", weight_sums_, weight_gradient.data(), &first_weight_) : wrong;
  }

 private:
  int64_t at(int64_t image, int64_t channel, int64_t pixel, int64_t channels, int64_t pixels) const {
    return image * channels * pixels + (problem_.planar ? channel * pixels + pixel : pixel * channels + channel);
  }

  void add_up() {
    const bmx::GradientProblem& p = problem_;
    const Size out = p.out(), image = p.image;
    for (int64_t n = 0; n < p.images; ++n) {
      for (int64_t o = 0; o < p.filters; ++o) {
        for (int64_t pixel = 0; pixel < out.pixels(); ++pixel) {
          const double gradient = gradient_[at(n, o, pixel, p.filters, out.pixels())];
          for (int64_t c = 0; c < p.group_channels(); ++c) {
            for (int64_t tap = 0; tap < p.window.taps(); ++tap) {
              const int64_t y = pixel / out.width * p.window.stride.height - p.window.pad.height +
                                tap / p.window.size.width * p.window.dilate.height;
              const int64_t x = pixel % out.width * p.window.stride.width - p.window.pad.width +
                                tap % p.window.size.width * p.window.dilate.width;
              const int64_t w = (o * p.group_channels() + c) * p.window.taps() + tap;
              if (y < 0 || y >= image.height || x < 0 || x >= image.width) {
                weight_sums_[w].add(gradient * p.pad_value);
                if (!p.pad_value) weight_sums_[w].magnitude += 2 * std::fabs(gradient);  // counted, and taken out
                continue;
              }
              const int64_t channel = o / p.group_filters() * p.group_channels() + c;
              const int64_t d = at(n, channel, y * image.width + x, p.channels, image.pixels());
              weight_sums_[w].add(gradient * sign(data_[d]));
              data_sums_[d].add(gradient * sign(weight_[w]));
            }
          }
        }
      }
    }
  }

  // With the sums, and bit for bit with the first result, those of other kernels and threads.
  std::string compare(const std::string& what, const std::vector<Sum>& sums, const float* got,
                      std::vector<float>* first) const {
    for (size_t i = 0; i < sums.size(); ++i) {
      if (!sums[i].allows(got[i], integers_)) return differ(what + " " + std::to_string(i), sums[i].value, got[i]);
    }
    if (first->empty()) first->assign(got, got + sums.size());
    if (!std::memcmp(first->data(), got, sums.size() * sizeof(float))) return "";
    return "gradient of the " + what + ": other bits than another kernel or team";
  }

  bmx::GradientProblem problem_;
  bool integers_;
  std::vector<float> data_, weight_, gradient_, first_data_, first_weight_;
  std::vector<Sum> data_sums_, weight_sums_;
};

constexpr int64_t kMostWork = 3000000;

bmx::GradientProblem any_problem() {
  bmx::GradientProblem p;
  p.images = any_of<int64_t>({1, 1, 2, 3, 9});
  p.planar = random_word() % 6 != 0;
  p.image = p.planar ? Size{1 + random_below(20), 1 + random_below(20)} : Size{1, 1 + random_below(40)};
  if (sometimes(12)) p.image = {1 + random_below(3), 60 + random_below(150)};
  bmx::Window& window = p.window;
  window.size = {1 + random_below(5), 1 + random_below(5)};
  window.stride = {any_of<int64_t>({1, 1, 2, 3}), any_of<int64_t>({1, 1, 2, 3})};
  window.dilate = {any_of<int64_t>({1, 1, 1, 2}), any_of<int64_t>({1, 1, 1, 2})};
  window.pad = {any_of<int64_t>({0, 0, 1, 2, 6}), any_of<int64_t>({0, 0, 1, 2, 6})};
  if (sometimes(5)) window = bmx::Window();
  if (window.reach().height > window.padded(p.image).height || window.reach().width > window.padded(p.image).width) {
    return any_problem();
  }
  p.groups = p.planar ? any_of<int64_t>({1, 1, 1, 2, 5}) : 1;
  p.channels = p.groups * any_of<int64_t>({1, 2, 3, 8, 16, 17, 64, 65, 150});
  p.filters = p.groups * any_of<int64_t>({1, 2, 4, 5, 8, 31, 32, 33, 70});
  p.pad_value = static_cast<int>(random_below(3)) - 1;
  const int64_t work = p.images * p.out().pixels() * p.filters * p.group_channels() * window.taps();
  return work > kMostWork ? any_problem() : p;
}

}  // namespace

void test_gradients(std::vector<Contestant>* contestants, int64_t thinning) {
  const auto test = [&](const std::string& name, const auto& run) {
    run_case(contestants, &Contestant::gradients, name, run);
  };
  for (int64_t values = 1; values <= 4; ++values) {
    test("make_sign_tables, values " + std::to_string(values),
         [&](const bmx::Kernel& kernel, int) { return make_tables(kernel, values, 1 + random_below(20)); });
  }
  for (int64_t rows = 1; rows <= 14; ++rows) {
    for (int64_t blocks = 1; blocks <= 9; ++blocks) {
      if (random_below(thinning)) continue;
      const int64_t depth = 1 + random_below(9);
      test("add_signed, rows " + std::to_string(rows) + ", blocks of columns " + std::to_string(blocks) + ", depth " +
               std::to_string(depth),
           [&](const bmx::Kernel& kernel, int) { return add_signed(kernel, rows, blocks, depth, depth % 2); });
    }
  }
  for (int64_t i = 0; i < 600; ++i) {
    if (random_below(thinning)) continue;
    Problem problem(any_problem(), random_word() % 2);
    test("gradients, " + problem.text(),
         [&](const bmx::Kernel& kernel, int threads) { return problem.run(kernel, threads); });
  }
}
