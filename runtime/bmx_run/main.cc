// bmx-run: the top-5 of images by a deployed model, or its latency.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "bench.h"
#include "bmx.hpp"
#include "classify.h"
#include "images.h"
#include "options.h"
#include "text.h"

namespace bmx_run {
namespace {

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2 };

void complain(const std::string& text) { std::fprintf(stderr, "bmx-run: %s\n", printable(text, true).c_str()); }

bmx::Session make_session(const bmx::Model& model, const Options& options) {
  try {
    return bmx::Session(model, options.threads, options.kernel);
  } catch (const bmx::Exception& error) {
    if (error.status() == BMX_INVALID) throw UsageError(error.what());
    throw;
  }
}

std::vector<float> prepare(const bmx::Model& model, const std::string& path) {
  const Image image = read_image(path);
  return model.prepare(image.pixels, image.height, image.width);
}

bmx::Shape prepared_shape(const bmx::Model& model) {
  const bmx_preprocess size = model.preprocess();
  return {1, 3, size.height, size.width};
}

// The names of the outputs, numbers where the model has none. Refuses what is no classifier.
std::vector<std::string> class_names(const bmx::Model& model, const bmx::Shape& input, const std::string& prefix) {
  const bmx::Shape output = model.output_shape(input);
  if (model.num_outputs() != 1 || output.size() != 2) {
    throw std::runtime_error(prefix + " is no classifier: its output is no array of (images, classes)");
  }
  std::vector<std::string> names = model.classes();
  if (names.empty()) {
    for (int64_t index = 0; index < output[1]; ++index) names.push_back(std::to_string(index));
  }
  if (static_cast<int64_t>(names.size()) != output[1]) {
    throw std::runtime_error(prefix + " is damaged: it names " + std::to_string(names.size()) + " classes of " +
                             std::to_string(output[1]));
  }
  return names;
}

void print_guesses(const std::string& path, const std::vector<std::string>& names, const std::vector<Guess>& guesses) {
  std::printf("%s\n", printable(path).c_str());
  for (const Guess& guess : guesses) {
    std::printf("  %5.1f %%  %s\n", 100 * guess.probability, printable(names[guess.index]).c_str());
  }
}

std::string json_row(const std::string& path, const std::vector<std::string>& names,
                     const std::vector<Guess>& guesses) {
  std::string top;
  for (const Guess& guess : guesses) {
    top += std::string(top.empty() ? "" : ",") + "\n   {\n    \"class\": " + json_string(names[guess.index]) +
           ",\n    \"probability\": " + json_number(guess.probability) + "\n   }";
  }
  return " {\n  \"image\": " + json_string(path) + ",\n  \"top\": [" + top + "\n  ]\n }";
}

// An image that cannot be read does not keep the others from being classified.
ExitCode classify(const Options& options) {
  const bmx::Model model(options.prefix);
  const bmx::Shape shape = prepared_shape(model);
  const std::vector<std::string> names = class_names(model, shape, options.prefix);
  bmx::Session session = make_session(model, options);
  ExitCode code = kDone;
  std::string rows;
  for (const std::string& path : options.images) {
    std::vector<float> input;
    try {
      input = prepare(model, path);
    } catch (const std::runtime_error& error) {
      complain(error.what());
      code = kFailed;
      continue;
    }
    const std::vector<Guess> guesses = likeliest(session.run(input, shape)[0], 5);
    if (options.json) rows += (rows.empty() ? "\n" : ",\n") + json_row(path, names, guesses);
    else print_guesses(path, names, guesses);
  }
  if (options.json) std::printf("[%s]\n", rows.empty() ? "" : (rows + "\n").c_str());
  return code;
}

ExitCode bench(const Options& options) {
  const bmx::Model model(options.prefix);
  bmx::Session session = make_session(model, options);
  const bool has_image = !options.images.empty();
  const bmx::Shape shape = has_image ? prepared_shape(model) : model.input_shape();
  const std::vector<float> input = has_image ? prepare(model, options.images[0]) : noise(shape);
  const Latency latency = measure(model, &session, input, shape);
  std::string sizes;
  for (const int64_t size : shape) {
    sizes += (sizes.empty() ? "" : options.json ? ",\n  " : ", ") + std::to_string(size);
  }
  if (options.json) {
    std::printf(
        "{\n \"model\": %s,\n \"input_shape\": [\n  %s\n ],\n \"kernel\": %s,\n \"threads\": %d,\n \"runs\": %zu,\n"
        " \"min_ms\": %s,\n \"median_ms\": %s,\n \"p99_ms\": %s\n}\n",
        json_string(model.name()).c_str(), sizes.c_str(), json_string(session.kernel()).c_str(), session.threads(),
        latency.runs, json_number(latency.min_ms).c_str(), json_number(latency.median_ms).c_str(),
        json_number(latency.p99_ms).c_str());
  } else {
    std::printf(
        "%s (%s), kernel %s, threads %d, runs %zu\n"
        "  min     %9.3f ms\n  median  %9.3f ms\n  99 %%    %9.3f ms\n",
        printable(model.name()).c_str(), sizes.c_str(), session.kernel().c_str(), session.threads(), latency.runs,
        latency.min_ms, latency.median_ms, latency.p99_ms);
  }
  return kDone;
}

ExitCode run(const Options& options) {
  if (options.help) {
    std::fputs(kHelp, stdout);
    return kDone;
  }
  if (options.version) {
    std::printf("bmx-run %s\n", bmx::version().c_str());
    return kDone;
  }
  return options.bench ? bench(options) : classify(options);
}

int run_command(const std::vector<std::string>& arguments) {
  int code = kFailed;
  try {
    code = run(parse(arguments));
  } catch (const UsageError& error) {
    complain(std::string(error.what()) + " (see bmx-run --help)");
    code = kUsage;
  } catch (const std::bad_alloc&) {
    complain("there is not enough memory");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  errno = 0;
  if (std::fflush(stdout) || std::ferror(stdout)) {
    complain(std::string("the output cannot be written") + (errno ? std::string(": ") + std::strerror(errno) : ""));
    return kFailed;
  }
  return code;
}

}  // namespace
}  // namespace bmx_run

int main(int argc, char** argv) {
  return bmx_run::run_command(std::vector<std::string>(argv + (argc > 0), argv + argc));
}
