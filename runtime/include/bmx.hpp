// bmx.hpp: bmx.h for C++11 and younger. Header-only: link with the same library.
//
//     const bmx::Model model("deployed/meliusnet22");
//     bmx::Session session(model);
//     const std::vector<float> input = model.prepare(image, height, width);
//     const std::vector<float> scores = session.run(input, model.input_shape())[0];
//
// What fails throws bmx::Exception. Models and sessions can be moved, not copied; one that was moved from may only be
// assigned to or destroyed. A session keeps its model alive.
#ifndef BMX_HPP_
#define BMX_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bmx.h"

namespace bmx {
// A namespace of its own, which need not be written: within the library there are other classes of these names.
inline namespace api_1 {
static_assert(BMX_API_VERSION == 1, "the namespace is named after the version");

// What went wrong; what() is one sentence in UTF-8.
class Exception : public std::runtime_error {
 public:
  Exception(bmx_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  bmx_status status() const noexcept { return status_; }

 private:
  bmx_status status_;
};

// Sizes of an array, images first, for example {1, 3, 224, 224}.
using Shape = std::vector<std::int64_t>;

namespace detail {

inline void check(bmx_status status, const bmx_error& error) {
  if (status != BMX_OK) throw Exception(status, error.text);
}

inline bmx_shape to_c(const Shape& shape) {
  if (shape.size() > BMX_MAX_DIMS) {
    throw Exception(BMX_INVALID, "a shape of " + std::to_string(shape.size()) + " dimensions; at most " +
                                     std::to_string(BMX_MAX_DIMS) + " are possible");
  }
  bmx_shape result = bmx_shape();
  for (std::int64_t size : shape) result.sizes[result.dims++] = size;
  return result;
}

inline Shape from_c(const bmx_shape& shape) { return Shape(shape.sizes, shape.sizes + shape.dims); }

// Are `count` values an array of this shape? None is where a size is not positive.
inline bool has_values(const Shape& shape, std::size_t count) {
  for (std::int64_t size : shape) {
    if (size <= 0 || count % static_cast<std::uint64_t>(size) != 0) return false;
    count /= static_cast<std::uint64_t>(size);
  }
  return count == 1;
}

}  // namespace detail

// A deployed model. It does not change: any number of threads may use it, each with a session of its own.
class Model {
 public:
  // Loads `prefix`-symbol.json and `prefix`-0000.params.
  explicit Model(const std::string& prefix) {
    bmx_error error;
    bmx_model* model = nullptr;
    detail::check(bmx_model_load(BMX_API_VERSION, prefix.c_str(), &model, &error), error);
    model_.reset(model, bmx_model_free);
  }

  // The same of the contents of these files, which are not needed afterwards.
  Model(const void* symbol, std::size_t symbol_size, const void* params, std::size_t params_size) {
    bmx_error error;
    bmx_model* model = nullptr;
    detail::check(bmx_model_load_memory(BMX_API_VERSION, symbol, symbol_size, params, params_size, &model, &error),
                  error);
    model_.reset(model, bmx_model_free);
  }

  Model(Model&&) noexcept = default;
  Model& operator=(Model&&) noexcept = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Name of the network, for example "meliusnet22".
  std::string name() const { return bmx_model_name(get()); }

  // Names of the classes; empty where the model has none.
  std::vector<std::string> classes() const {
    std::vector<std::string> names;
    const std::int64_t count = bmx_model_num_classes(get());
    for (std::int64_t index = 0; index < count; ++index) names.emplace_back(bmx_model_class(get(), index));
    return names;
  }

  // How an image becomes an input. Throws where the model does not say.
  bmx_preprocess preprocess() const {
    bmx_error error;
    bmx_preprocess result;
    detail::check(bmx_model_preprocess(get(), &result, &error), error);
    return result;
  }

  // The shape of a batch of one image that the model was exported for.
  Shape input_shape() const { return detail::from_c(bmx_model_input_shape(get())); }

  std::int64_t num_outputs() const { return bmx_model_num_outputs(get()); }

  // The shape of an output for an input of the shape `input`.
  Shape output_shape(const Shape& input, std::int64_t index = 0) const {
    bmx_error error;
    const bmx_shape from = detail::to_c(input);
    bmx_shape result;
    detail::check(bmx_model_output_shape(get(), &from, index, &result, &error), error);
    return detail::from_c(result);
  }

  // An image as one input, of preprocess().height and width. `image`: 8 bits a channel, red, green, blue, rows from
  // the top, `height * width * 3` bytes.
  std::vector<float> prepare(const std::uint8_t* image, std::int64_t height, std::int64_t width) const {
    const bmx_preprocess size = preprocess();
    std::vector<float> input(static_cast<std::size_t>(3 * size.height * size.width));
    bmx_error error;
    detail::check(bmx_model_prepare(get(), image, height, width, input.data(), &error), error);
    return input;
  }

  std::vector<float> prepare(const std::vector<std::uint8_t>& image, std::int64_t height, std::int64_t width) const {
    if (!detail::has_values(Shape{height, width, 3}, image.size())) {
      throw Exception(BMX_INVALID, std::to_string(image.size()) + " bytes are no image of " + std::to_string(height) +
                                       " x " + std::to_string(width) + " pixels");
    }
    return prepare(image.data(), height, width);
  }

  // For the functions of bmx.h; it stays this object's.
  const bmx_model* get() const noexcept { return model_.get(); }

 private:
  friend class Session;
  std::shared_ptr<bmx_model> model_;
};

// The threads and the memory to run a model, for one thread at a time.
class Session {
 public:
  // `threads`: how many compute, the calling one among them; 0: one for each core that the process may use. `kernel`:
  // the code of an instruction set, for example "avx2"; empty: what BMX_ISA names, or else the fastest. All give the
  // same bits.
  explicit Session(const Model& model, int threads = 0, const std::string& kernel = std::string())
      : model_(model.model_), session_(nullptr, bmx_session_free) {
    bmx_error error;
    bmx_session* session = nullptr;
    const char* name = kernel.empty() ? nullptr : kernel.c_str();
    detail::check(bmx_session_create(model_.get(), threads, name, &session, &error), error);
    session_.reset(session);
  }

  int threads() const { return bmx_session_threads(get()); }
  std::string kernel() const { return bmx_session_kernel(get()); }

  // Runs a batch of this shape, float32, contiguous, (images, channels, height, width). Returns the values of each
  // output of the model.
  std::vector<std::vector<float>> run(const std::vector<float>& batch, const Shape& shape) {
    if (!detail::has_values(shape, batch.size())) {
      std::string sizes;
      for (std::int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
      throw Exception(BMX_INVALID,
                      "a batch of " + std::to_string(batch.size()) + " values is not of the shape (" + sizes + ")");
    }
    std::vector<std::vector<float>> outputs(static_cast<std::size_t>(bmx_model_num_outputs(model_.get())));
    std::vector<float*> arrays;
    const bmx_shape from = detail::to_c(shape);
    for (std::vector<float>& output : outputs) {
      bmx_error error;
      bmx_shape result;
      const auto index = static_cast<std::int64_t>(arrays.size());
      detail::check(bmx_model_output_shape(model_.get(), &from, index, &result, &error), error);
      std::size_t values = 1;
      for (std::int32_t dim = 0; dim < result.dims; ++dim) values *= static_cast<std::size_t>(result.sizes[dim]);
      output.resize(values);
      arrays.push_back(output.data());
    }
    run(batch.data(), shape, arrays.data());
    return outputs;
  }

  // The same without memory of its own: `outputs` holds for each output of the model an array that receives what
  // Model::output_shape says.
  void run(const float* batch, const Shape& shape, float* const* outputs) {
    bmx_error error;
    const bmx_shape from = detail::to_c(shape);
    detail::check(bmx_session_run(get(), batch, &from, outputs, &error), error);
  }

  // For the functions of bmx.h; it stays this object's.
  bmx_session* get() const noexcept { return session_.get(); }

 private:
  std::shared_ptr<bmx_model> model_;
  std::unique_ptr<bmx_session, void (*)(bmx_session*)> session_;
};

// The version of the library, and the youngest format of model files that it reads.
inline std::string version() { return bmx_version(); }
inline int format_version() { return bmx_format_version(); }

}  // namespace api_1
}  // namespace bmx

#endif  // BMX_HPP_
