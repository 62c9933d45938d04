#include "programs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "execution.h"
#include "kernels.h"
#include "tests.h"

std::vector<float> random_floats(int64_t count, int64_t range) {
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(random_below(2 * range + 1) - range) / 2;
    if (value == 0 && random_word() % 2) value = -0.0f;
  }
  return values;
}

std::vector<float> random_fractions(int64_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random_below(1 << 24) - (1 << 23)) / (1 << 23);
  return values;
}

std::string text_of(Size size) { return std::to_string(size.height) + "," + std::to_string(size.width); }

Bytes bytes_of(const std::vector<float>& values) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(values.data());
  return Bytes(bytes, bytes + values.size() * sizeof(float));
}

std::vector<float> floats_of(const Bytes& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Convolution::Convolution(int64_t channel_count, int64_t filter_count, int64_t group_count, const bmx::Window& over)
    : channels(channel_count), filters(filter_count), groups(group_count), window(over) {
  pad_value = static_cast<int>(random_below(3)) - 1;
  draw_bits();
  interleaved = filters / groups % bmx::kFilterTile == 0 && random_word() % 2;
  if (random_word() % 3) draw_threshold(1);
}

Convolution::Convolution(const bmx::Convolution& conv, const Bytes& packed,
                         const std::vector<std::vector<float>>& others)
    : channels(conv.channels),
      filters(conv.filters),
      groups(conv.groups),
      window(conv.window),
      pad_value(conv.pad_value),
      binarizations(conv.binarizations),
      planes(conv.planes),
      weight_planes(conv.weight_planes),
      counted(conv.counted),
      zero_one(conv.zero_one),
      interleaved(conv.interleaved),
      bits(conv.all_filters() * window.taps() * (channels / groups)) {
  for (size_t i = 0; i < bits.size(); ++i) {
    const int64_t at = packed_at(static_cast<int64_t>(i));
    bits[i] = packed[at / 8] >> at % 8 & 1;
  }
  const auto given = [&](int place) { return place < 0 || others.empty() ? std::vector<float>() : others[place - 1]; };
  threshold = given(conv.threshold);
  scales = given(conv.scales);
  weight_scales = given(conv.weight_scales);
}

void Convolution::draw_bits() {
  bits.resize(weight_planes * filters * window.taps() * (channels / groups));
  for (uint8_t& bit : bits) bit = random_word() % 2;
}

void Convolution::draw_threshold(int64_t comparisons) {
  threshold.clear();
  for (int64_t i = 0; i < comparisons; ++i) {
    for (float value : random_floats(channels, 9)) {
      threshold.push_back(random_word() % 8 ? value : std::copysign(INFINITY, value));
    }
    for (int64_t c = 0; c < channels; ++c) threshold.push_back(random_word() % 2 ? 1.0f : -1.0f);
  }
}

void Convolution::draw_planes() {
  weight_planes = any_of<int64_t>({1, 1, 2, 3});
  if (threshold.empty() && random_word() % 2) {
    binarizations = 1 + random_below(3);
  } else {
    if (!threshold.empty()) {
      planes = any_of<int64_t>({1, 2, 3, 4});
      counted = planes > 1 && random_word() % 2;
      draw_threshold(bmx::Packer::comparisons(planes, counted));
    }
    zero_one = random_word() % 2;
    if (zero_one) pad_value = -1;
    if (random_word() % 2) scales = random_fractions(planes);
  }
  if (random_word() % 2) weight_scales = random_fractions(weight_planes * filters);
  draw_bits();
}

std::string Convolution::options() const {
  const auto option = [](const char* name, int64_t value, int64_t missing) {
    return value == missing ? "" : std::string(" ") + name + "=" + std::to_string(value);
  };
  return option("binarizations", binarizations, 1) + option("planes", planes, 1) + option("counted", counted, 0) +
         option("zero_one", zero_one, 0) + option("weight_planes", weight_planes, 1) +
         " kernel=" + text_of(window.size) + " stride=" + text_of(window.stride) + " pad=" + text_of(window.pad) +
         " dilate=" + text_of(window.dilate) + " filters=" + std::to_string(filters) +
         " groups=" + std::to_string(groups) + " pad_value=" + std::to_string(pad_value) +
         option("interleaved", interleaved, 0);
}

Bytes Convolution::packed() const {
  Bytes packed(packed_bytes());
  for (size_t i = 0; i < bits.size(); ++i) {
    const int64_t at = packed_at(static_cast<int64_t>(i));
    packed[at / 8] |= bits[i] << at % 8;
  }
  return packed;
}

int64_t Convolution::packed_bytes() const {
  const int64_t group = channels / groups;
  return weight_planes * filters * window.taps() * (interleaved ? bmx::words_for(group) * 8 : bmx::packed_bytes(group));
}

int64_t Convolution::packed_at(int64_t i) const {
  const int64_t group = channels / groups, channel = i % group;
  if (!interleaved) return i / group * bmx::round_up(group, 8) + channel;
  const int64_t taps = window.taps(), words = bmx::words_for(group), tap = i / group % taps, filter = i / group / taps;
  const int64_t word = tap * words + channel / 64, block = filter / bmx::kFilterTile;
  return ((block * taps * words + word) * bmx::kFilterTile + filter % bmx::kFilterTile) * 64 + channel % 64;
}

bool Convolution::bit(float value, int64_t c, int64_t comparison) const {
  if (threshold.empty()) return value >= 0;
  const float* t = threshold.data() + 2 * comparison * channels;
  const bool reversed = t[channels + c] < 0;
  // the comparison that a NaN fails is the one before the direction reverses it
  return reversed ? value <= t[c] || std::isnan(value) : value >= t[c];
}

Features Convolution::plane(const Features& in, int64_t plane) const {
  return by_channel(in, [&](float value, int64_t c) {
    bool held = !counted && bit(value, c, plane);
    for (int64_t i = 1; counted && i < int64_t{1} << planes; ++i)
      held ^= i >> plane << plane == i && bit(value, c, i - 1);
    return held ? 1.0f : zero_one ? 0.0f : -1.0f;
  });
}

Features Convolution::apply(const Features& in) const {
  std::vector<Features> signs;
  std::vector<float> factors;
  Features residual = in;
  for (int64_t j = 0; j < planes * binarizations; ++j) {
    signs.push_back(plane(binarizations > 1 ? residual : in, binarizations > 1 ? 0 : j));
    factors.push_back(scales.empty() ? std::ldexp(1.0f, static_cast<int>(j)) : scales[j]);
    if (binarizations == 1) continue;
    const int64_t pixels = in.size.pixels();
    double total = 0;
    for (int64_t c = 0; c < channels; ++c) {
      double channel = 0;
      for (int64_t p = 0; p < pixels; ++p) channel += std::fabs(static_cast<double>(residual.values[c * pixels + p]));
      total += channel;
    }
    const float alpha = static_cast<float>(total / static_cast<double>(channels * pixels));
    factors[j] = alpha;
    for (float& value : residual.values) value = value >= 0 ? value - alpha : value + alpha;
  }
  Features sum(filters, window.out(in.size));
  for (int64_t i = 0; i < weight_planes; ++i) {
    Features inner = sum;
    for (size_t j = 0; j < signs.size(); ++j) {
      const Features product = multiply(signs[j], i);
      for (size_t k = 0; k < sum.values.size(); ++k) {
        const float scaled = factors[j] * product.values[k];
        inner.values[k] = j ? inner.values[k] + scaled : scaled;
      }
    }
    const bool weighted = weight_planes > 1 || !weight_scales.empty();
    for (size_t k = 0; k < sum.values.size(); ++k) {
      const int64_t o = static_cast<int64_t>(k) / sum.size.pixels();
      const float factor =
          weight_scales.empty() ? std::ldexp(1.0f, static_cast<int>(i)) : weight_scales[i * filters + o];
      const float scaled = weighted ? factor * inner.values[k] : inner.values[k];
      sum.values[k] = i ? sum.values[k] + scaled : scaled;
    }
  }
  return sum;
}

Features Convolution::multiply(const Features& in, int64_t weight_plane) const {
  const Size padded = window.padded(in.size);
  std::vector<int8_t> signs(padded.pixels() * channels);  // (rows, columns, channels)
  for (int64_t y = 0; y < padded.height; ++y) {
    for (int64_t x = 0; x < padded.width; ++x) {
      const int64_t in_y = y - window.pad.height, in_x = x - window.pad.width;
      for (int64_t c = 0; c < channels; ++c) {
        signs[(y * padded.width + x) * channels + c] = static_cast<int8_t>(in.holds(in_y, in_x) ? in.at(c, in_y, in_x)
                                                                           : zero_one           ? 0
                                                                                                : pad_value);
      }
    }
  }
  Features out(filters, window.out(in.size));
  const int64_t group_channels = channels / groups, group_filters = filters / groups;
  for (int64_t o = 0; o < filters; ++o) {
    for (int64_t y = 0; y < out.size.height; ++y) {
      for (int64_t x = 0; x < out.size.width; ++x) {
        int dot = 0;
        for (int64_t tap = 0; tap < window.taps(); ++tap) {
          const int64_t in_y = y * window.stride.height + tap / window.size.width * window.dilate.height;
          const int64_t in_x = x * window.stride.width + tap % window.size.width * window.dilate.width;
          const int8_t* left = &signs[(in_y * padded.width + in_x) * channels + o / group_filters * group_channels];
          const uint8_t* right = &bits[((weight_plane * filters + o) * window.taps() + tap) * group_channels];
          for (int64_t c = 0; c < group_channels; ++c) dot += left[c] * (2 * right[c] - 1);
        }
        out.at(o, y, x) = static_cast<float>(dot);
      }
    }
  }
  return out;
}

Features slice(const Features& in, int64_t begin, int64_t end) {
  Features out(end - begin, in.size);
  out.values.assign(in.values.begin() + begin * in.size.pixels(), in.values.begin() + end * in.size.pixels());
  return out;
}

Features concatenate(const Features& a, const Features& b) {
  Features out(a.channels + b.channels, a.size);
  std::copy(a.values.begin(), a.values.end(), out.values.begin());
  std::copy(b.values.begin(), b.values.end(), out.values.begin() + a.values.size());
  return out;
}

Features add(const Features& a, const Features& b) {
  Features out = a;
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] += b.values[i];
  return out;
}

Features pool(const Features& in, bmx::Pool kind, const bmx::Window& window, bool count_pad) {
  const Size pad = window.pad;
  Features out(in.channels, window.out(in.size));
  for (int64_t c = 0; c < out.channels; ++c) {
    for (int64_t y = 0; y < out.size.height; ++y) {
      for (int64_t x = 0; x < out.size.width; ++x) {
        float sum = 0, most = std::numeric_limits<float>::lowest(), count = 0;
        for (int64_t tap = 0; tap < window.taps(); ++tap) {
          const int64_t in_y = y * window.stride.height - window.pad.height + tap / window.size.width;
          const int64_t in_x = x * window.stride.width - window.pad.width + tap % window.size.width;
          const bool in_padding = in_y < in.size.height + pad.height && in_x < in.size.width + pad.width;
          if (in.holds(in_y, in_x) || (count_pad && in_padding)) ++count;
          if (!in.holds(in_y, in_x)) continue;
          const float value = in.at(c, in_y, in_x);
          if (value > most) most = value;
          sum += value;
        }
        out.at(c, y, x) = kind == bmx::Pool::kMax ? most : count > 0 ? sum / count : 0;
      }
    }
  }
  return out;
}

std::string Problem::parameter(const Bytes& bytes) {
  parameters.push_back(bytes);
  return "p" + std::to_string(parameters.size() - 1);
}

void Problem::convolve(const Convolution& conv, const std::string& in, const std::string& out,
                       const std::string& steps) {
  text += "conv in=" + in + " out=" + out + conv.options() + " weight=" + parameter(conv.packed());
  if (!conv.threshold.empty()) text += " threshold=" + parameter(conv.threshold);
  if (!conv.scales.empty()) text += " scales=" + parameter(conv.scales);
  if (!conv.weight_scales.empty()) text += " weight_scales=" + parameter(conv.weight_scales);
  text += steps + ";";
}

std::vector<bmx::Feature> Problem::features() const {
  std::vector<bmx::Feature> features;
  for (const Features& data : images[0]) features.push_back({bmx::Layout::kPlanar, data.channels, data.size, 0});
  return features;
}

std::string Problem::run(const bmx::Kernel& kernel, int threads, Side side) const {
  const bmx::Program program = bmx::parse_program(text, num_data(), static_cast<int64_t>(expected[0].size()));
  // bands of a row and more, as if images were large
  const bmx::CacheLimits limits = {random_below(2), random_below(20000)};
  const bmx::Plan plan = bmx::infer(program, features(), random_word() % 2 ? limits : bmx::CacheLimits());
  bmx::Arrays arrays;
  arrays.images = static_cast<int64_t>(images.size());
  std::vector<std::unique_ptr<Guarded<float>>> data, results;
  for (size_t x = 0; x < images[0].size(); ++x) {
    std::vector<float> all;
    for (const auto& image : images) all.insert(all.end(), image[x].values.begin(), image[x].values.end());
    data.emplace_back(new Guarded<float>(all, side));
    arrays.data.push_back({data.back()->data(), static_cast<int64_t>(all.size())});
  }
  std::vector<std::unique_ptr<Guarded<uint8_t>>> guarded;
  for (size_t i = 0; i < parameters.size(); ++i) {
    guarded.emplace_back(new Guarded<uint8_t>(parameters[i], side));
    const int64_t size = static_cast<int64_t>(parameters[i].size()) / (program.parameters[i].bits ? 1 : 4);
    arrays.parameters.push_back({guarded.back()->data(), size});
  }
  for (const Features& out : expected[0]) {
    const int64_t size = arrays.images * static_cast<int64_t>(out.values.size());
    results.emplace_back(new Guarded<float>(size, side));
    arrays.outputs.push_back({results.back()->data(), size});
  }
  const bmx::Execution execution(plan, arrays, kernel, team_of(threads));
  Guarded<char> workspace(execution.workspace_bytes(), side);
  execution.run(workspace.data());
  bool intact = workspace.intact_around();
  for (size_t y = 0; y < results.size(); ++y) {
    const int64_t size = static_cast<int64_t>(expected[0][y].values.size());
    for (int64_t i = 0; i < arrays.outputs[y].size; ++i) {
      const float value = expected[i / size][y].values[i % size], found = (*results[y])[i];
      if (found == value || (std::isnan(found) && std::isnan(value))) continue;
      return "value " + std::to_string(i) + " of y" + std::to_string(y) + ": expected " + std::to_string(value) +
             ", got " + std::to_string(found);
    }
    intact = intact && results[y]->intact_around();
  }
  return intact ? "" : "it writes outside of its memory";
}

namespace {

void draw_images(int64_t channels, Size size, Problem* problem) {
  for (int64_t i = 1 + random_below(2); i > 0; --i) {
    Features image(channels, size);
    image.values = random_floats(channels * size.pixels(), 9);
    problem->images.push_back({image});
  }
}

}  // namespace

Problem single_convolution() {
  const Size size = any_of<Size>({{1, 1}, {1, 16}, {5, 6}, {4, 17}, {9, 13}, {14, 14}});
  bmx::Window window;
  window.size = any_of<Size>({{1, 1}, {3, 3}, {1, 3}, {5, 2}});
  window.stride = any_of<Size>({{1, 1}, {2, 1}, {2, 2}});
  window.dilate = any_of<Size>({{1, 1}, {1, 2}});
  window.pad = any_of<Size>({{0, 0}, {1, 1}, {1, 2}});
  while (window.reach().height > window.padded(size).height) window.pad.height++;
  while (window.reach().width > window.padded(size).width) window.pad.width++;
  const int64_t groups = any_of<int64_t>({1, 1, 2, 5, 33});
  const int64_t channels = groups * any_of<int64_t>({1, 3, 31, 32, 33, 64, 65, 130});
  Problem problem;
  if (groups > 2 && channels > 200) return single_convolution();
  Convolution conv(channels, groups * any_of<int64_t>({1, 3, 17, 64, 70}), groups, window);
  if (random_word() % 3) conv.draw_planes();
  draw_images(channels, size, &problem);
  problem.convolve(conv, "x0[0:" + std::to_string(channels) + "]", "y0");
  for (const auto& image : problem.images) problem.expected.push_back({conv.apply(image[0])});
  return problem;
}

Problem small_groups() {
  const int64_t group = any_of<int64_t>({1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 32, 33});
  const int64_t filters = random_word() % 2 ? 1 + random_below(group) : any_of<int64_t>({1, 2, 3, 5, 16, 65});
  const int64_t groups = any_of<int64_t>({1, 2, 3, 7, 16, 31, 32, 33, 64, 65});
  if (groups * (group + filters) > 600) return small_groups();
  const Size size = any_of<Size>({{1, 1}, {1, 70}, {7, 7}, {5, 6}, {4, 17}, {9, 13}, {12, 30}});
  bmx::Window window;
  window.size = any_of<Size>({{1, 1}, {3, 3}, {3, 3}, {1, 3}, {5, 2}, {2, 5}});
  window.stride = any_of<Size>({{1, 1}, {1, 1}, {1, 2}, {2, 1}, {2, 2}, {3, 3}});
  window.dilate = any_of<Size>({{1, 1}, {1, 1}, {2, 2}, {1, 40}});
  window.pad = any_of<Size>({{0, 0}, {1, 1}, {1, 1}, {1, 2}});
  while (window.reach().height > window.padded(size).height) window.pad.height++;
  while (window.reach().width > window.padded(size).width) window.pad.width++;
  const Convolution conv(groups * group, groups * filters, groups, window);
  const std::string type = any_of<std::string>({"", ":int16", ":float32", ":planar"});
  Problem problem;
  draw_images(conv.channels, size, &problem);
  std::vector<float> factor(conv.filters, 1.0f);
  std::string steps;
  if (type != ":int16" && random_word() % 2) {
    factor = random_floats(conv.filters, 5);
    steps = " steps=mul:" + problem.parameter(factor);
  }
  problem.convolve(conv, "x0[0:" + std::to_string(conv.channels) + "]", type.empty() ? "y0" : "s0" + type, steps);
  if (!type.empty()) problem.text += "map in=s0[0:" + std::to_string(conv.filters) + "] out=y0 steps=relu";
  for (const auto& image : problem.images) {
    problem.expected.push_back({by_channel(conv.apply(image[0]), [&](float value, int64_t c) {
      const float product = value * factor[c];
      return type.empty() || product > 0 ? product : 0.0f;
    })});
  }
  return problem;
}

Problem chain() {
  const int64_t channels = any_of<int64_t>({8, 33, 64, 70}), filters = any_of<int64_t>({3, 16, 40, 64, 65});
  const Size size = any_of<Size>({{2, 2}, {6, 7}, {13, 11}, {20, 21}});
  bmx::Window same, point, half;
  same.size = {3, 3};
  same.pad = {1, 1};
  half.size = any_of<Size>({{2, 2}, {3, 3}});
  half.stride = {2, 2};
  half.pad = {half.size.height - 2, half.size.width - 2};
  Convolution first(channels, filters, 1, same), second(filters + channels - 2, filters, 1, point);
  Convolution third(filters, filters, 1, same), last(2 * filters - 1, filters, 1, same);
  const std::vector<float> factor = random_floats(2 * filters - 1, 5), slope = random_floats(1, 5);
  const std::vector<float> shift = random_floats(filters, 5), norm = random_floats(3 * filters, 5);
  const std::string type = any_of<std::string>({"int16", "float32", "planar"});
  last.draw_planes();
  if (type != "int16") {
    first.draw_planes();
    second.draw_planes();
    third.draw_planes();
  }
  const std::string pooled = any_of<std::string>({"float32", "planar"});
  const std::string all = "[0:" + std::to_string(filters) + "]", wide = "[0:" + std::to_string(2 * filters - 1) + "]";
  Problem problem;
  draw_images(channels, size, &problem);
  problem.convolve(first, "x0[0:" + std::to_string(channels) + "]", "s0:" + type);
  const std::string rest = ",x0[2:" + std::to_string(channels) + "]";
  problem.convolve(second, "s0" + all + rest, "s1:" + type, " steps=plus:s0" + all);
  problem.convolve(third, "s1" + all, "s1:" + type, " steps=plus:s1" + all);
  problem.text += "map in=s1[1:" + std::to_string(filters) + "],s0" + all + " out=s2:" + pooled +
                  " before=mul:" + problem.parameter(factor) + "|prelu:" + problem.parameter(slope) +
                  " pool=max kernel=" + text_of(half.size) + " stride=2,2 pad=" + text_of(half.pad) + ";";
  problem.convolve(last, "s2" + wide, "s3:float32",
                   " steps=add:" + problem.parameter(shift) + "|norm:" + problem.parameter(norm) + "|plus:s2" + all);
  problem.text += "map in=s3" + all + " out=y0 steps=relu";
  for (const auto& images : problem.images) {
    const Features &image = images[0], s0 = first.apply(image);
    Features s1 = add(second.apply(concatenate(s0, slice(image, 2, channels))), s0);
    s1 = add(third.apply(s1), s1);
    const Features scaled = by_channel(concatenate(slice(s1, 1, filters), s0), [&](float value, int64_t c) {
      const float product = value * factor[c];
      return product > 0 ? product : product * slope[0];
    });
    const Features s2 = pool(scaled, bmx::Pool::kMax, half);
    const Features normalized = by_channel(last.apply(s2), [&](float value, int64_t c) {
      const float shifted = value + shift[c];
      return (shifted - norm[c]) * norm[filters + c] + norm[2 * filters + c];
    });
    problem.expected.push_back({by_channel(add(normalized, slice(s2, 0, filters)),
                                           [](float value, int64_t) { return value > 0 ? value : 0.0f; })});
  }
  return problem;
}

Problem rows_chain() {
  const int64_t channels = any_of<int64_t>({3, 32, 40}), filters = any_of<int64_t>({5, 16, 64});
  const Size size = any_of<Size>({{2, 3}, {4, 7}, {8, 5}, {12, 12}, {24, 3}, {5, 5}});
  const std::string type = any_of<std::string>({"int16", "float32", "planar"});
  const auto slice_of = [](const std::string& name, int64_t count) {
    return name + "[0:" + std::to_string(count) + "]";
  };
  bmx::Window point, pairs;
  pairs.size = any_of<Size>({{2, 2}, {2, 3}, {1, 2}});
  pairs.stride = {2, 2};
  Problem problem;
  draw_images(channels, size, &problem);
  const auto convolve = [&](int64_t depth, const bmx::Window& window, const std::string& in, const std::string& out,
                            const std::string& steps = "") {
    Convolution conv(depth, filters, 1, window);
    if (type != "int16" && random_word() % 2) conv.draw_planes();
    problem.convolve(conv, in, out, steps);
  };
  const std::string s1 = slice_of("s1", filters), pooled = any_of<std::string>({"float32", "planar"});
  convolve(channels, point, slice_of("x0", channels), "s0:" + type);
  convolve(filters, point, slice_of("s0", filters), "s1:" + type);
  convolve(filters, point, s1, "s1:" + type, " steps=plus:" + s1);
  convolve(2 * filters, point, s1 + "," + slice_of("s0", filters), any_of<std::string>({"s0:", "s2:"}) + type,
           " steps=plus:" + s1);
  const bool halves = size.width >= pairs.size.width && random_word() % 2;
  if (halves) {
    problem.text += "map in=" + s1 + " out=s3:" + pooled + " before=relu pool=" + any_of<std::string>({"max", "avg"}) +
                    " kernel=" + text_of(pairs.size) + " stride=2,2;";
  } else {
    problem.text +=
        "map in=" + s1 + " out=s3:" + pooled + " steps=mul:" + problem.parameter(random_floats(filters, 5)) + ";";
  }
  convolve(filters, point, slice_of("s3", filters), "s3:" + pooled, " steps=plus:" + slice_of("s3", filters));
  problem.text += "map in=" + slice_of("s3", filters) + " out=y0 steps=plus:" + slice_of(halves ? "s3" : "s1", filters);
  const bmx::Plan plan = bmx::infer(bmx::parse_program(problem.text, 1, 1), problem.features());
  for (const auto& image : problem.images) problem.expected.push_back(interpret(plan, image, problem.parameters));
  return problem;
}

Problem parts_chain() {
  const int64_t groups = any_of<int64_t>({1, 2, 4}), channels = groups * any_of<int64_t>({1, 3, 8});
  const int64_t filters = groups * any_of<int64_t>({1, 4, 16, 48});
  const Size size = any_of<Size>({{3, 3}, {6, 7}, {8, 5}, {13, 11}});
  const auto slice_of = [](const std::string& name, int64_t count) {
    return name + "[0:" + std::to_string(count) + "]";
  };
  Problem problem;
  draw_images(channels, size, &problem);
  const auto convolve = [&](int64_t depth, const std::string& rest) {
    int64_t lanes = 1;
    while (lanes < filters / groups && lanes < 16) lanes *= 2;
    const int64_t blocks = (filters / groups + lanes - 1) / lanes;
    problem.text += "fconv kernel=3,3 pad=1,1 filters=" + std::to_string(filters) +
                    " groups=" + std::to_string(groups) +
                    " weight=" + problem.parameter(random_fractions(blocks * lanes * depth * 9)) + rest + ";";
  };
  const auto steps = [&](int64_t of) {
    return "norm:" + problem.parameter(random_floats(3 * of, 5)) +
           "|prelu:" + problem.parameter(random_floats(random_word() % 2 ? of : 1, 5));
  };
  // two in a row, of a number of channels that not every count divides
  const auto map = [&](const std::string& in, const std::string& out) {
    problem.text += "map in=" + slice_of(in, channels) + " out=" + out + ":planar" +
                    any_of<std::string>({"", " pool=max kernel=3,3 stride=1,1 pad=1,1"}) + " steps=" + steps(channels) +
                    ";";
  };
  map("x0", "s4");
  map("s4", "s5");
  convolve(channels,
           " in=" + slice_of("s5", channels) + " out=s0:planar before=" + steps(channels) + " steps=" + steps(filters));
  const std::string type = any_of<std::string>({"float32", "planar"});
  problem.text += "map in=" + slice_of("s0", filters) + " out=s1:" + type + " before=" + steps(filters) +
                  " pool=" + any_of<std::string>({"max", "avg"}) +
                  any_of<std::string>({" kernel=3,3 stride=2,2 pad=1,1", " kernel=2,2 stride=2,2"}) +
                  " steps=" + steps(filters) + ";";
  // what can run band by band as well
  if (random_word() % 2) {
    problem.convolve(Convolution(filters, filters, 1, bmx::Window()), slice_of("s1", filters), "s1:" + type);
  }
  problem.text += "map in=" + slice_of("s1", filters) + " out=s2:planar steps=" + steps(filters) + ";";
  convolve(filters, " in=" + slice_of("s2", filters) + " out=" + any_of<std::string>({"s0:planar", "s3:float32"}) +
                        " before=" + steps(filters));
  const std::string last = problem.text.find("out=s3") == std::string::npos ? "s0" : "s3";
  problem.text += "map in=" + slice_of(last, filters) + " out=y0 steps=relu";
  const bmx::Plan plan = bmx::infer(bmx::parse_program(problem.text, 1, 1), problem.features());
  for (const auto& image : problem.images) problem.expected.push_back(interpret(plan, image, problem.parameters));
  return problem;
}

Problem float_chain() {
  const int64_t groups = any_of<int64_t>({1, 1, 2, 4}), channels = groups * any_of<int64_t>({1, 3, 8, 17});
  const int64_t filters = groups * any_of<int64_t>({1, 2, 5, 8, 16, 33});
  const Size size = any_of<Size>({{1, 1}, {6, 7}, {13, 11}, {20, 21}});
  const auto slice_of = [](const std::string& name, int64_t count) {
    return name + "[0:" + std::to_string(count) + "]";
  };
  bmx::Window window;
  window.size = any_of<Size>({{1, 1}, {3, 3}, {1, 5}});
  window.pad = {window.size.height / 2, window.size.width / 2};
  const Convolution binary(filters, filters, 1, window);
  Problem problem;
  for (int64_t i = 1 + random_below(2); i > 0; --i) {
    Features image(channels, size);
    image.values = random_fractions(channels * size.pixels());
    problem.images.push_back({image});
  }
  const auto convolve = [&](const std::string& in, const std::string& out, int64_t depth, const std::string& rest) {
    int64_t lanes = 1;
    while (lanes < filters / groups && lanes < 16) lanes *= 2;
    const int64_t blocks = bmx::ceil_div(filters / groups, lanes);
    const std::vector<float> weights = random_fractions(groups * blocks * lanes * depth / groups * window.taps());
    problem.text += "fconv in=" + in + " out=" + out + " kernel=" + text_of(window.size) +
                    " pad=" + text_of(window.pad) + " filters=" + std::to_string(filters) +
                    " groups=" + std::to_string(groups) + " weight=" + problem.parameter(weights) + rest + ";";
  };
  convolve(slice_of("x0", channels), any_of<std::string>({"s0:float32", "s0:planar"}), channels,
           " steps=norm:" + problem.parameter(random_fractions(3 * filters)) + "|relu");
  problem.convolve(binary, slice_of("s0", filters), any_of<std::string>({"s1:int16", "s1:planar"}));
  convolve(slice_of("s1", filters) + "," + slice_of("s0", filters), "s2:planar", 2 * filters,
           " before=mul:" + problem.parameter(random_fractions(2 * filters)) +
               " steps=plus:" + slice_of("s1", filters));
  problem.text += "map in=" + slice_of("s2", filters) + " out=y0:flat pool=avg " +
                  any_of<std::string>({"global=1", "kernel=1,1 stride=1,2", "kernel=2,2 pad=1,1 count_pad=1"});
  const bmx::Plan plan = bmx::infer(bmx::parse_program(problem.text, 1, 1), problem.features());
  for (const auto& image : problem.images) problem.expected.push_back(interpret(plan, image, problem.parameters));
  return problem;
}
