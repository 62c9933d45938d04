// The C++ wrapper, bmx.hpp.
#include <cstring>
#include <fstream>
#include <iterator>
#include <type_traits>

#include "bmx.hpp"
#include "check.h"

namespace {

using bmx::test::data_folder;

template <typename Class>
constexpr bool moves_only() {
  return !std::is_copy_constructible<Class>::value && !std::is_copy_assignable<Class>::value &&
         std::is_nothrow_move_constructible<Class>::value && std::is_nothrow_move_assignable<Class>::value;
}
static_assert(moves_only<bmx::Model>() && moves_only<bmx::Session>(), "");

std::string levels() { return data_folder() + "/levels"; }

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of what is thrown; BMX_OK where nothing is.
template <typename Function>
bmx_status status_of(const Function& function) {
  try {
    function();
  } catch (const bmx::Exception& error) {
    CHECK(*error.what());
    return error.status();
  }
  return BMX_OK;
}

std::vector<float> noise(size_t count) {
  std::vector<float> values;
  for (size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i * 7919 % 255) / 128 - 1);
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(cpp_what_a_model_says) {
  const bmx::Model model(levels());
  CHECK(!model.name().empty());
  const std::vector<std::string> classes = model.classes();
  CHECK_EQUAL(classes.size(), 10u);
  CHECK_EQUAL(classes[9], "nine");
  CHECK_EQUAL(model.preprocess().height, 8);
  CHECK(model.input_shape() == (bmx::Shape{1, 3, 8, 8}));
  CHECK_EQUAL(model.num_outputs(), 1);
  CHECK(model.output_shape({5, 3, 8, 8}) == (bmx::Shape{5, 10}));
  CHECK(bmx::Model(data_folder() + "/flat").classes().empty());
  CHECK_EQUAL(bmx::version(), BMX_VERSION);
  CHECK(bmx::format_version() >= 4);
}

TEST(cpp_runs) {
  bmx::Model model(levels());
  bmx::Session session(model, 2, "portable");
  CHECK_EQUAL(session.threads(), 2);
  CHECK_EQUAL(session.kernel(), "portable");
  const std::vector<float> batch = noise(2 * 3 * 8 * 8), first(batch.begin(), batch.begin() + 3 * 8 * 8);
  const std::vector<std::vector<float>> outputs = session.run(batch, {2, 3, 8, 8});
  CHECK_EQUAL(outputs.size(), 1u);
  CHECK_EQUAL(outputs[0].size(), 20u);

  bmx::Session moved = std::move(session);
  model = bmx::Model(data_folder() + "/flat");  // the session keeps its own
  const std::vector<float> alone = moved.run(first, {1, 3, 8, 8})[0];
  CHECK(same_bits(alone, {outputs[0].begin(), outputs[0].begin() + 10}));

  std::vector<float> given(10);
  float* const arrays[] = {given.data()};
  moved.run(first.data(), {1, 3, 8, 8}, arrays);
  CHECK(same_bits(given, alone));
}

TEST(cpp_loads_from_memory) {
  const std::string symbol = contents(levels() + "-symbol.json"), params = contents(levels() + "-0000.params");
  const bmx::Model model(symbol.data(), symbol.size(), params.data(), params.size()), loaded(levels());
  const std::vector<float> input = noise(3 * 8 * 8);
  CHECK(same_bits(bmx::Session(model, 1).run(input, {1, 3, 8, 8})[0],
                  bmx::Session(loaded, 1).run(input, {1, 3, 8, 8})[0]));
  CHECK_EQUAL(status_of([&] { bmx::Model(symbol.data(), symbol.size(), params.data(), params.size() - 1); }),
              BMX_BAD_MODEL);
}

TEST(cpp_prepares) {
  const bmx::Model model(levels());
  const bmx_preprocess preprocess = model.preprocess();
  const std::vector<float> input = model.prepare(std::vector<uint8_t>(5 * 7 * 3, 255), 5, 7);
  CHECK_EQUAL(input.size(), 3u * 8 * 8);
  for (size_t i = 0; i < input.size(); ++i) {
    const size_t channel = i / 64;
    CHECK(std::abs(input[i] - (1 - preprocess.mean[channel]) / preprocess.std[channel]) < 1e-5f);
  }
}

TEST(cpp_exceptions) {
  CHECK_EQUAL(status_of([] { bmx::Model(data_folder() + "/none"); }), BMX_NOT_FOUND);
  const bmx::Model model(levels());
  CHECK_EQUAL(status_of([&] { bmx::Session(model, 0, "none"); }), BMX_INVALID);
  CHECK_EQUAL(status_of([&] { bmx::Session(model, -1); }), BMX_INVALID);
  CHECK_EQUAL(status_of([&] { bmx::Model(data_folder() + "/flat").preprocess(); }), BMX_INVALID);
  CHECK_ERROR(model.prepare(std::vector<uint8_t>(10), 2, 2), "10 bytes are no image of 2 x 2 pixels");
  CHECK_ERROR(model.output_shape({1, 1, 3, 8, 8}), "5 dimensions");
  CHECK_ERROR(model.output_shape({1, 4, 8, 8}), "the model does not take an input of shape (1, 4, 8, 8): it has 3 ");
  CHECK_ERROR(model.output_shape({1, 8, 8, 3}), "it has 3 channels, which come second: (N, channels, height, width)");
  CHECK_ERROR(model.output_shape({1, 3, 0, 8}), "cannot have shape (1, 3, 0, 8): each size must be from 1 to ");
  CHECK_ERROR(model.output_shape({-1, 3, 8, 8}), "the number of images must be from 0 to ");
  CHECK_ERROR(bmx::Model(data_folder() + "/flat").preprocess(), "bmx.export(..., preprocess=)");

  bmx::Session session(model, 1);
  CHECK_ERROR(session.run(noise(191), {1, 3, 8, 8}), "a batch of 191 values is not of the shape (1, 3, 8, 8)");
  CHECK_ERROR(session.run({}, {0, 3, 8, 8}), "a batch of 0 values is not of the shape (0, 3, 8, 8)");
  const int64_t large = int64_t{1} << 32;  // of products modulo 2^64 it would be empty
  CHECK_ERROR(session.run({}, {large, large, 1, 1}), "a batch of 0 values is not of the shape");
  CHECK_EQUAL(status_of([&] { session.run(noise(4 * 8 * 8), {1, 4, 8, 8}); }), BMX_INVALID);
}

}  // namespace
