#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "graph.h"
#include "json.h"
#include "memory.h"
#include "params.h"
#include "sha256.h"

namespace bmx {
namespace {

const char kSymbol[] = "-symbol.json", kParams[] = "-0000.params";  // behind PREFIX
const char kForeign[] = " is no file of `bmx export`, or damaged";
const char kAgain[] = "copy both files again, or export the model again";

constexpr size_t kMaxSymbol = 16 << 20;  // bytes; read, it takes many times as much memory

// Calls a function; what it throws gets a beginning.
template <typename Function>
void explain(const std::string& beginning, const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    fail(beginning, ": ", error.what());
  }
}

// Reading files ------------------------------------------------------------------------------------------------------

struct Contents {
  std::unique_ptr<char[]> bytes;
  size_t size;
};

// A descriptor that is closed in the end.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : number(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  const int number;
};

// Throws NotFoundError where a file of the pair is no file.
void require_file(const std::string& path, const std::string& prefix) {
  struct stat found;
  const bool exists = stat(path.c_str(), &found) == 0;
  if (exists && S_ISREG(found.st_mode)) return;
  if (exists) throw NotFoundError(path + (S_ISDIR(found.st_mode) ? " is a folder, not a file" : " is no file"));
  const std::string symbol = prefix + kSymbol, params = prefix + kParams;
  for (const std::string& end : {std::string(kSymbol), std::string(kParams)}) {
    if (prefix.size() >= end.size() && prefix.compare(prefix.size() - end.size(), end.size(), end) == 0) {
      throw NotFoundError(path + " is missing; give PREFIX without " + end + ": " +
                          prefix.substr(0, prefix.size() - end.size()));
    }
  }
  const char* empty = prefix.empty() ? "PREFIX is empty: " : "";
  const bool folder = stat(prefix.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
  throw NotFoundError(empty + path + " is missing; a deployed model is the pair " + symbol + " and " + params +
                      (folder ? "; PREFIX is how both names begin, not the folder " + prefix : ""));
}

Contents read_file(const std::string& path) {
  const Descriptor file(path);
  struct stat found;
  Contents contents = {nullptr, 0};
  if (file.number >= 0 && fstat(file.number, &found) == 0) {
    contents.bytes = allocate<char>(std::max<int64_t>(found.st_size, 1));
    for (;;) {
      const ssize_t count = read(file.number, contents.bytes.get() + contents.size, found.st_size - contents.size);
      if (count == 0) return contents;
      if (count > 0) contents.size += count;
      else if (errno != EINTR) break;
    }
  }
  throw NotFoundError(path + " cannot be read: " + std::strerror(errno));
}

// The file that keeps the old parameters while an export puts new files in place.
std::string backup_path(const std::string& params) {
  const size_t name = params.find_last_of('/') + 1;
  return params.substr(0, name) + ".partial-" + params.substr(name);
}

// Waits until no export is between its two files.
void wait_for_export(const std::string& params) {
  const size_t name = params.find_last_of('/') + 1;
  const Descriptor folder(name ? params.substr(0, name) : ".");
  if (folder.number >= 0) {
    while (flock(folder.number, LOCK_SH) && errno == EINTR) {
    }
  }
}

// The symbol ---------------------------------------------------------------------------------------------------------

struct Symbol {
  Json content;
  Metadata metadata;
};

// The text of the attribute __bmx__; null where there is none.
const Json* find_metadata(const Json& content) {
  for (const Json& node : list(content, "nodes")) {
    const Json* attributes = node.find("attrs");
    const Json* found = attributes ? attributes->find("__bmx__") : nullptr;
    if (found) return found;
  }
  return nullptr;
}

// Is this the digest of the bytes with zeros in its place, which there is once?
bool is_digest(const std::string& digest, const char* bytes, size_t size) {
  const char* place = std::search(bytes, bytes + size, digest.begin(), digest.end());
  if (place == bytes + size) return false;
  if (std::search(place + 1, bytes + size, digest.begin(), digest.end()) != bytes + size) return false;
  std::string zeroed(bytes, size);
  zeroed.replace(place - bytes, digest.size(), digest.size(), '0');
  return sha256(zeroed.data(), size) == digest;
}

Symbol read_symbol(const char* bytes, size_t size, const std::string& path) {
  Symbol symbol;
  const Json* metadata = nullptr;
  explain(path + kForeign, [&] {
    if (size > kMaxSymbol) fail("it has ", size, " bytes, at most ", kMaxSymbol, " are read");
    symbol.content = parse_json(bytes, size);
    metadata = find_metadata(symbol.content);
  });
  if (!metadata) fail(path, " is no file of `bmx export`: it has no attribute __bmx__");
  if (!metadata->is(Json::kString)) fail("the attribute __bmx__ of ", path, " is damaged: it is no text");
  symbol.metadata = parse_metadata(metadata->string(), path);
  const std::string& own = symbol.metadata.symbol_sha256;
  if (!own.empty() && !is_digest(own, bytes, size)) {
    fail(path, " is damaged or was changed since it was exported: ", kAgain);
  }
  return symbol;
}

// The pair -----------------------------------------------------------------------------------------------------------

// By the names of their variables.
using Arrays = std::map<std::string, StoredArray>;

Arrays read_arrays(const char* bytes, size_t size) {
  Arrays arrays;
  for (StoredArray& array : read_params(bytes, size)) {
    std::string name = array.name;
    if (name.compare(0, 4, "arg:") == 0 || name.compare(0, 4, "aux:") == 0) name.erase(0, 4);
    if (!arrays.emplace(name, std::move(array)).second) fail("it has two arrays called ", name);
  }
  return arrays;
}

// Throws where there is not one array for each parameter of the graph.
void check_names(const Graph& graph, const Arrays& arrays) {
  std::vector<std::string> missing, unknown;
  for (const auto& parameter : graph.parameters()) {
    if (!arrays.count(parameter.first)) missing.push_back(parameter.first);
  }
  for (const auto& array : arrays) {
    if (!graph.parameters().count(array.first)) unknown.push_back(array.first);
  }
  if (!missing.empty()) fail("it lacks ", listed(missing));
  if (!unknown.empty()) fail("it has ", listed(unknown), ", which the symbol has not");
}

// Throws where a variable's attributes contradict the array that it stands for.
void check_array(const std::string& name, const Attributes& attributes, const StoredArray& array) {
  if (array.dtype != kFloat32 && array.dtype != kUint8) {
    fail("parameter ", name, " is of type ", dtype_name(array.dtype), ", not float32 or uint8");
  }
  const std::vector<int64_t> declared = get_tuple(attributes, "__shape__");
  bool fits = declared.empty() || declared.size() == array.shape.size();
  for (size_t i = 0; fits && i < declared.size(); ++i) {  // 0 and -1 are unknown
    fits = declared[i] == 0 || declared[i] == -1 || declared[i] == array.shape[i];
  }
  if (!fits) fail("parameter ", name, " has shape ", text(array.shape), ", not ", text(declared));
  const int64_t dtype = get_int(attributes, "__dtype__", array.dtype);
  if (dtype != -1 && dtype != array.dtype) {
    fail("parameter ", name, " is of type ", dtype_name(array.dtype), ", and not as the symbol says");
  }
}

size_t rounded(size_t size) { return (size + ModelFiles::kAlignment - 1) & -ModelFiles::kAlignment; }

// Copies the values of all arrays into the memory of the model.
void copy_arrays(const Graph& graph, const Arrays& arrays, ModelFiles* files) {
  size_t bytes = ModelFiles::kAlignment;
  for (const auto& array : arrays) bytes += rounded(array.second.size);
  files->memory.reset(new char[bytes]);
  char* to = files->memory.get();
  to += -reinterpret_cast<uintptr_t>(to) & (ModelFiles::kAlignment - 1);
  for (const auto& each : arrays) {
    const StoredArray& array = each.second;
    check_array(each.first, graph.parameters().at(each.first)->attributes, array);
    const bool bits = array.dtype == kUint8;
    const int64_t size = static_cast<int64_t>(bits ? array.size : array.size / sizeof(float));
    files->arrays.push_back({each.first, bits, array.shape, size, to});
    std::memcpy(to, array.bytes, array.size);
    to += rounded(array.size);
  }
}

// Finds the program's parameters among the arrays.
void read_parameters(const Graph& graph, ModelFiles* files) {
  std::map<std::string, const FileArray*> arrays;
  for (const FileArray& array : files->arrays) arrays.emplace(array.name, &array);
  std::map<const Node*, size_t> expansions;  // each of which several parameters may be
  const std::vector<const Node*> nodes = graph.program_parameters();
  for (const Node* node : nodes) {
    if (node->is_variable() || !expansions.emplace(node, files->expansions.size()).second) continue;
    files->expansions.push_back(
        {node->name, arrays.at(graph.input(*node, 0).name), arrays.at(graph.input(*node, 1).name), node->attributes});
  }
  for (const Node* node : nodes) {
    if (node->is_variable()) files->parameters.push_back({arrays.at(node->name), nullptr});
    else files->parameters.push_back({nullptr, &files->expansions[expansions.at(node)]});
  }
}

// Throws where the program cannot take an input of the shape that the metadata tell.
void check_input(const ModelFiles& files) {
  const std::vector<int64_t>& shape = files.metadata.input_shape;
  if (files.channels.size() > 1) fail("channels ", text(files.channels), " must be one number");
  const bool fits = shape.size() == (files.flat ? 1 : 3);
  if (!fits || (!files.channels.empty() && files.channels[0] != shape[0])) {
    fail("its network does not take an input of shape ", text(shape));
  }
}

// `symbol_path` and `params_path` are for messages.
ModelFiles combine(const Symbol& symbol, const std::string& symbol_path, const char* params, size_t params_size,
                   const std::string& params_path) {
  ModelFiles files = {};
  files.metadata = symbol.metadata;
  std::unique_ptr<Graph> graph;
  explain(symbol_path + kForeign, [&] { graph.reset(new Graph(symbol.content)); });
  explain(symbol_path + " cannot be run", [&] {
    graph->check(symbol.metadata);
    files.flat = graph->flattens();
    files.program = get_string(graph->attributes(), "program", "");
    files.num_outputs = get_int(graph->attributes(), "num_outputs", 1);
    files.channels = get_tuple(graph->attributes(), "channels");
    files.heads = graph->heads();
    check_input(files);
  });
  Arrays arrays;
  explain(params_path + kForeign, [&] { arrays = read_arrays(params, params_size); });
  explain(params_path + " does not fit " + symbol_path, [&] {
    check_names(*graph, arrays);
    copy_arrays(*graph, arrays, &files);
  });
  read_parameters(*graph, &files);
  return files;
}

[[noreturn]] void fail_pair(const std::string& params, const std::string& symbol) {
  fail(params, " is damaged, or not the file that ", symbol, " was exported with: ", kAgain);
}

}  // namespace

ModelFiles read_files(const std::string& prefix) {
  const std::string symbol_path = prefix + kSymbol, params_path = prefix + kParams;
  for (const std::string& path : {symbol_path, params_path}) require_file(path, prefix);
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (attempt) wait_for_export(params_path);
    const Contents contents = read_file(symbol_path);
    const Symbol symbol = read_symbol(contents.bytes.get(), contents.size, symbol_path);
    // where an export was killed between its two files, the old parameters are in the backup
    for (const std::string& path : {params_path, backup_path(params_path)}) {
      Contents params;
      try {
        params = read_file(path);
      } catch (const NotFoundError&) {
        if (path == params_path) throw;
        continue;
      }
      if (sha256(params.bytes.get(), params.size) != symbol.metadata.params_sha256) continue;
      return combine(symbol, symbol_path, params.bytes.get(), params.size, path);
    }
  }
  fail_pair(params_path, symbol_path);
}

ModelFiles read_files(const char* symbol, size_t symbol_size, const char* params, size_t params_size) {
  const std::string symbol_name = "the symbol file", params_name = "the parameter file";
  const Symbol found = read_symbol(symbol, symbol_size, symbol_name);
  if (sha256(params, params_size) != found.metadata.params_sha256) {
    fail_pair(params_name, symbol_name);
  }
  return combine(found, symbol_name, params, params_size, params_name);
}

}  // namespace bmx
