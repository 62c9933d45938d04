// The C interface.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "bmx.h"
#include "error.h"
#include "image.h"
#include "kernels.h"
#include "model.h"
#include "session.h"

struct bmx_model {
  std::shared_ptr<const bmx::Model> model;
};

struct bmx_session {
  bmx::Session session;
  std::atomic<bool> runs{false};
};

namespace {

using bmx::fail;

// The sentence, or as much of it as there is room for, whole characters.
bmx_status tell(bmx_status status, const std::string& sentence, bmx_error* error) {
  if (!error) return status;
  size_t size = std::min(sentence.size(), sizeof error->text - 1);
  const auto continues = [&](size_t i) { return i < sentence.size() && (sentence[i] & 0xC0) == 0x80; };
  while (size > 0 && continues(size)) --size;
  std::memcpy(error->text, sentence.data(), size);
  error->text[size] = '\0';
  return status;
}

// Calls the function; an Error that says no more is `status`.
template <typename Function>
bmx_status guarded(bmx_status status, bmx_error* error, const Function& function) {
  try {
    function();
    return tell(BMX_OK, "", error);
  } catch (const bmx::NotFoundError& found) {
    return tell(BMX_NOT_FOUND, found.what(), error);
  } catch (const bmx::ResourceError& found) {
    return tell(BMX_OUT_OF_MEMORY, found.what(), error);
  } catch (const bmx::Error& found) {
    return tell(status, found.what(), error);
  } catch (const std::bad_alloc&) {
    return tell(BMX_OUT_OF_MEMORY, "out of memory", error);
  } catch (const std::length_error&) {  // of containers
    return tell(BMX_OUT_OF_MEMORY, "out of memory", error);
  } catch (const std::exception& found) {
    return tell(status, found.what(), error);
  }
}

template <typename Pointer>
void require(const char* name, Pointer pointer) {
  if (!pointer) fail(name, " is NULL");
}

bmx::Shape shape_of(const bmx_shape* shape) {
  require("shape", shape);
  if (shape->dims < 1 || shape->dims > BMX_MAX_DIMS) {
    fail("a shape has 1 to ", BMX_MAX_DIMS, " dimensions, not ", shape->dims);
  }
  return bmx::Shape(shape->sizes, shape->sizes + shape->dims);
}

bmx_shape c_shape(const bmx::Shape& shape) {
  bmx_shape found = {static_cast<int32_t>(shape.size()), {}};
  std::copy(shape.begin(), shape.end(), found.sizes);
  return found;
}

// Checks what all ways to load a model are given, and makes one of the files that `read` returns.
template <typename Function>
bmx_status load(int api_version, bmx_model** model, bmx_error* error, const Function& read) {
  if (model) *model = nullptr;
  const bmx_status status = guarded(BMX_INVALID, error, [&] {
    require("model", model);
    if (api_version != BMX_API_VERSION) {
      fail("the program was compiled for version ", api_version, " of the interface of bmx, this library, ",
           bmx_version(), ", has version ", BMX_API_VERSION, ": compile it again");
    }
  });
  if (status != BMX_OK) return status;
  return guarded(BMX_BAD_MODEL, error, [&] { *model = new bmx_model{std::make_shared<const bmx::Model>(read())}; });
}

}  // namespace

extern "C" {

const char* bmx_version(void) { return BMX_VERSION; }

int bmx_format_version(void) { return bmx::kFormatVersion; }

bmx_status bmx_model_load(int api_version, const char* prefix, bmx_model** model, bmx_error* error) {
  if (!prefix) return tell(BMX_INVALID, "prefix is NULL", error);
  return load(api_version, model, error, [=] { return bmx::read_files(prefix); });
}

bmx_status bmx_model_load_memory(int api_version, const void* symbol, size_t symbol_size, const void* params,
                                 size_t params_size, bmx_model** model, bmx_error* error) {
  if (!symbol || !params) return tell(BMX_INVALID, "symbol or params is NULL", error);
  return load(api_version, model, error, [=] {
    return bmx::read_files(static_cast<const char*>(symbol), symbol_size, static_cast<const char*>(params),
                           params_size);
  });
}

void bmx_model_free(bmx_model* model) { delete model; }

const char* bmx_model_name(const bmx_model* model) { return model ? model->model->metadata().model.c_str() : nullptr; }

int64_t bmx_model_num_classes(const bmx_model* model) {
  return model ? static_cast<int64_t>(model->model->metadata().classes.size()) : 0;
}

const char* bmx_model_class(const bmx_model* model, int64_t index) {
  if (index < 0 || index >= bmx_model_num_classes(model)) return nullptr;
  return model->model->metadata().classes[index].c_str();
}

bmx_status bmx_model_preprocess(const bmx_model* model, bmx_preprocess* preprocess, bmx_error* error) {
  return guarded(BMX_INVALID, error, [=] {
    require("model", model);
    require("preprocess", preprocess);
    const bmx::Metadata& metadata = model->model->metadata();
    if (!metadata.has_preprocess) {
      fail("the model does not say how an image becomes its input: run it on inputs that are made as in training, or ",
           "have it exported again with bmx.export(..., preprocess=)");
    }
    *preprocess = metadata.preprocess;
  });
}

bmx_shape bmx_model_input_shape(const bmx_model* model) {
  return c_shape(model ? model->model->input_shape() : bmx::Shape());
}

int64_t bmx_model_num_outputs(const bmx_model* model) { return model ? model->model->num_outputs() : 0; }

bmx_status bmx_model_output_shape(const bmx_model* model, const bmx_shape* input, int64_t index, bmx_shape* output,
                                  bmx_error* error) {
  return guarded(BMX_INVALID, error, [=] {
    require("model", model);
    require("output", output);
    if (index < 0 || index >= model->model->num_outputs()) {
      fail("there is no output ", index, ", the model has ", model->model->num_outputs());
    }
    const bmx::Shape shape = shape_of(input);
    *output = c_shape(model->model->output_shape(*model->model->plan(shape), shape[0], index));
  });
}

bmx_status bmx_model_prepare(const bmx_model* model, const uint8_t* image, int64_t height, int64_t width, float* input,
                             bmx_error* error) {
  bmx_preprocess preprocess;
  const bmx_status status = bmx_model_preprocess(model, &preprocess, error);
  if (status != BMX_OK) return status;
  return guarded(BMX_INVALID, error, [&] {
    require("image", image);
    require("input", input);
    bmx::prepare_image(image, height, width, preprocess, input);
  });
}

bmx_status bmx_session_create(const bmx_model* model, int threads, const char* kernel, bmx_session** session,
                              bmx_error* error) {
  if (session) *session = nullptr;
  return guarded(BMX_INVALID, error, [=] {
    require("model", model);
    require("session", session);
    *session = new bmx_session{{model->model, threads, kernel ? bmx::find_kernel(kernel) : bmx::current_kernel()}};
  });
}

void bmx_session_free(bmx_session* session) { delete session; }

int bmx_session_threads(const bmx_session* session) { return session ? session->session.threads() : 0; }

const char* bmx_session_kernel(const bmx_session* session) {
  return session ? session->session.kernel().name : nullptr;
}

bmx_status bmx_session_run(bmx_session* session, const float* input, const bmx_shape* shape, float* const* outputs,
                           bmx_error* error) {
  if (session && session->runs.exchange(true)) {
    return tell(BMX_BUSY, "the session is running in another thread: make one for each thread", error);
  }
  const bmx_status status = guarded(BMX_INVALID, error, [=] {
    require("session", session);
    require("input", input);
    require("outputs", outputs);
    for (int64_t i = 0; i < session->session.model().num_outputs(); ++i) require("an output", outputs[i]);
    session->session.run(input, shape_of(shape), outputs);
  });
  if (session) session->runs = false;
  return status;
}

}  // extern "C"
