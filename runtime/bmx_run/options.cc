#include "options.h"

namespace bmx_run {
namespace {

constexpr int kMaxThreads = 1 << 16;  // more digits than that are a mistake

int to_threads(const std::string& text) {
  int threads = text.empty() ? -1 : 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9' || threads > kMaxThreads) {
      threads = -1;
      break;
    }
    threads = 10 * threads + (digit - '0');
  }
  if (threads < 0 || threads > kMaxThreads) throw UsageError("--threads: a number from 0 on, not '" + text + "'");
  return threads;
}

const std::string& to_kernel(const std::string& text) {
  if (text.empty()) throw UsageError("--kernel: a name, not ''");
  return text;
}

}  // namespace

const char kHelp[] =
    "usage: bmx-run [OPTIONS] PREFIX IMAGE...\n"
    "       bmx-run --bench [OPTIONS] PREFIX [IMAGE]\n"
    "\n"
    "The top-5 of images by the deployed model of PREFIX-symbol.json and PREFIX-0000.params, or its latency.\n"
    "\n"
    "  --json         machine-readable output\n"
    "  --bench        the time that the network takes for one image, or for noise of its input's shape\n"
    "  --threads N    threads that compute (default: 0, one for each core)\n"
    "  --kernel NAME  the code of an instruction set, for example avx2 (default: the fastest of this CPU)\n"
    "  --help         this text\n"
    "  --version      the version\n"
    "\n"
    "Formats of images: "
#ifdef BMX_WITH_JPEG
    "JPEG, "
#endif
#ifdef BMX_WITH_PNG
    "PNG, "
#endif
    "PGM and PPM (binary).\n"
    "Exit code: 0; 1 if the model or an image cannot be read; 2 if the command line is wrong. An image that cannot be\n"
    "read is told of on the standard error, and left out of what is printed; the others are classified.\n";

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  std::vector<std::string> names;
  bool only_names = false;
  for (size_t index = 0; index < arguments.size(); ++index) {
    const std::string& argument = arguments[index];
    if (only_names || argument.size() < 2 || argument[0] != '-') {
      names.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const bool has_value = equals != std::string::npos;
    const auto value = [&]() -> std::string {
      if (has_value) return argument.substr(equals + 1);
      if (index + 1 == arguments.size()) throw UsageError(name + " needs a value");
      return arguments[++index];
    };
    if (name == "--threads") options.threads = to_threads(value());
    else if (name == "--kernel") options.kernel = to_kernel(value());
    else if (has_value) throw UsageError("no such option, or one without a value: " + argument);
    else if (name == "--") only_names = true;
    else if (name == "--json") options.json = true;
    else if (name == "--bench") options.bench = true;
    else if (name == "--help" || name == "-h") options.help = true;
    else if (name == "--version") options.version = true;
    else throw UsageError("no such option: " + argument);
  }
  if (options.help || options.version) return options;
  if (names.empty()) throw UsageError("the PREFIX of a model is missing");
  options.prefix = names[0];
  options.images.assign(names.begin() + 1, names.end());
  if (!options.bench && options.images.empty()) throw UsageError("an IMAGE is missing");
  if (options.bench && options.images.size() > 1) throw UsageError("--bench takes one IMAGE at most");
  return options;
}

}  // namespace bmx_run
