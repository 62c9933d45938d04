#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "json.h"
#include "params.h"
#include "sha256.h"

namespace bmx {
namespace {

constexpr size_t kMaxSymbol = 16 << 20;  // bytes; read, it takes many times as much memory
constexpr int64_t kMaxOutputs = 65536;
constexpr size_t kMaxShown = 8;  // names in a sentence

// Reading files
// --------------------------------------------------------------------------------------------------------

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

bool is_file(const std::string& path) {
  struct stat found;
  return stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode);
}

Contents read_file(const std::string& path) {
  const Descriptor file(path);
  struct stat found;
  Contents contents = {nullptr, 0};
  if (file.number >= 0 && fstat(file.number, &found) == 0) {
    contents.bytes.reset(new char[std::max<size_t>(found.st_size, 1)]);
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

// The symbol
// -----------------------------------------------------------------------------------------------------------

struct Symbol {
  Json content;
  Metadata metadata;
};

const Json::Array& list(const Json& content, const char* key) {
  const Json* found = content.find(key);
  if (!found || !found->is(Json::kArray)) fail("there must be a list of ", key);
  return found->array();
}

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
  const std::string complaint = path + " is not a symbol file of MXNet, or damaged: ";
  if (size > kMaxSymbol) fail(complaint, "it has ", size, " bytes, at most ", kMaxSymbol, " are read");
  Symbol symbol;
  const Json* metadata;
  try {
    symbol.content = parse_json(bytes, size);
    metadata = find_metadata(symbol.content);
  } catch (const Error& error) {
    fail(complaint, error.what());
  }
  if (!metadata) fail(path, " was not written by bmx: it has no attribute __bmx__");
  if (!metadata->is(Json::kString)) fail("the attribute __bmx__ of ", path, " is damaged: it is no text");
  symbol.metadata = parse_metadata(metadata->string(), path);
  const std::string& own = symbol.metadata.symbol_sha256;
  if (!own.empty() && !is_digest(own, bytes, size)) {
    fail(path, " is damaged or was changed since it was exported: export the model again");
  }
  return symbol;
}

// The graph
// ------------------------------------------------------------------------------------------------------------

// An output of a node.
struct Entry {
  size_t node;
  int64_t output;
};

struct Node {
  std::string op, name;
  Attributes attributes;
  std::vector<Entry> inputs;
  bool used;  // do the outputs of the graph need it?

  bool is_variable() const { return op == "null"; }
};

// [node, output, version], one of the nodes before.
Entry read_entry(const Json& content, size_t nodes) {
  const bool valid = content.is(Json::kArray) && (content.array().size() == 2 || content.array().size() == 3);
  for (size_t i = 0; i < (valid ? content.array().size() : 1); ++i) {
    if (!valid || !content.array()[i].is(Json::kInteger)) fail("an input or output must be three whole numbers");
  }
  const int64_t node = content.array()[0].integer(), output = content.array()[1].integer();
  if (node < 0 || static_cast<uint64_t>(node) >= nodes || output < 0) {
    fail("output ", output, " of node ", node, " is read, which does not exist there");
  }
  return {static_cast<size_t>(node), output};
}

Node read_node(const Json& content, size_t position) {
  Node node = {};
  if (!content.is(Json::kObject)) fail("node ", position, " is no object");
  for (const auto& member : content.object()) {
    const std::string& key = member.first;
    if (key != "op" && key != "name" && key != "attrs" && key != "inputs") fail("node ", position, " has ", key);
  }
  const Json *op = content.find("op"), *name = content.find("name"), *attributes = content.find("attrs");
  bool texts = op && name && op->is(Json::kString) && name->is(Json::kString) && !op->string().empty() &&
               !name->string().empty() && (!attributes || attributes->is(Json::kObject));
  if (texts && attributes) {
    for (const auto& attribute : attributes->object()) {
      texts = texts && attribute.second.is(Json::kString);
      if (texts) node.attributes.emplace(attribute.first, attribute.second.string());
    }
  }
  if (!texts) fail("node ", position, " must have texts for op, name and attrs");
  node.op = op->string();
  node.name = name->string();
  for (const Json& input : list(content, "inputs")) node.inputs.push_back(read_entry(input, position));
  return node;
}

std::string quoted(const std::vector<std::string>& names) {
  std::string joined;
  for (size_t i = 0; i < std::min(names.size(), kMaxShown); ++i) joined += (i ? ", " : "") + names[i].substr(0, 60);
  return joined + (names.size() > kMaxShown ? ", ..." : "");
}

// How to do without operators that only MXNet has.
const char* advice(const Metadata& metadata) {
  if (metadata.format < 4) return "export it again with this version of bmx, or run it with MXNet";
  return metadata.exact ? "export it without --exact, or run it with MXNet" : "run it with MXNet";
}

class Graph {
 public:
  explicit Graph(const Json& content) {
    for (const Json& each : list(content, "nodes")) {
      nodes_.push_back(read_node(each, nodes_.size()));
      const Node& node = nodes_.back();
      if (!node.is_variable()) continue;
      if (!node.inputs.empty() || !variables_.insert(node.name).second) {
        fail("variable ", node.name, " has inputs, or is not the only one of its name");
      }
    }
    for (const Json& head : list(content, "heads")) heads_.push_back(read_entry(head, nodes_.size()));
    if (heads_.empty()) fail("it has no outputs");
    for (const Entry& head : heads_) nodes_[head.node].used = true;
    for (size_t i = nodes_.size(); i-- > 0;) {  // readers before what they read
      for (const Entry& input : nodes_[i].inputs) nodes_[input.node].used |= nodes_[i].used;
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].used) variables_.erase(nodes_[i].name);
      else if (nodes_[i].op == "binary_subgraph") programs_.push_back(i);
    }
  }

  // The names of all.
  const std::set<std::string>& variables() const { return variables_; }

  // Fills in all but the parameters' values. Throws where there is more than one program.
  void read_program(const Metadata& metadata, ModelFiles* files) const {
    check_operators(metadata);
    const Node& node = nodes_[programs_.front()];
    check_names(node.attributes, {"program", "num_data", "num_outputs", "channels"});
    files->program = get_string(node.attributes, "program", "");
    files->num_outputs = get_int(node.attributes, "num_outputs", 1);
    files->channels = get_tuple(node.attributes, "channels");
    if (get_int(node.attributes, "num_data", 1) != 1) fail("its program must have one data input");
    if (files->num_outputs < 1 || files->num_outputs > kMaxOutputs) {
      fail("num_outputs must be between 1 and ", kMaxOutputs, ", got ", files->num_outputs);
    }
    if (files->channels.size() > 1) fail("channels ", text(files->channels), " must be one number");
    if (node.inputs.empty()) fail("its program has no inputs");
    const Node& data = source(node.inputs[0]);
    files->flat = is_flattening(data);
    if (!is_data(files->flat ? source(data.inputs[0]) : data)) fail("its program does not read data");
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      const Node& input = source(node.inputs[i]);
      FileParameter parameter = {};
      parameter.name = input.name;
      parameter.is_expanded = !input.is_variable();
      if (parameter.is_expanded) read_expanded(input, &parameter);
      else parameter.array.name = parameter_name(input);
      files->parameters.push_back(std::move(parameter));
    }
    for (const Entry& head : heads_) {
      if (head.node != programs_.front() || head.output >= files->num_outputs) {
        fail("output ", head.output, " of ", nodes_[head.node].name, " is none of its program");
      }
      files->heads.push_back(head.output);
    }
  }

  // Throws where a variable's attributes contradict the array that it stands for.
  void check(const FileArray& array) const {
    const auto found = std::find_if(nodes_.begin(), nodes_.end(),
                                    [&](const Node& node) { return node.is_variable() && node.name == array.name; });
    const Attributes& attributes = found->attributes;
    const std::vector<int64_t> declared = get_tuple(attributes, "__shape__");
    bool fits = declared.empty() || declared.size() == array.shape.size();
    for (size_t i = 0; fits && i < declared.size(); ++i) {  // 0 and -1 are unknown
      fits = declared[i] == 0 || declared[i] == -1 || declared[i] == array.shape[i];
    }
    if (!fits) fail("parameter ", array.name, " has shape ", text(array.shape), ", not ", text(declared));
    const int64_t dtype = array.bits ? kUint8 : kFloat32, said = get_int(attributes, "__dtype__", dtype);
    if (said != -1 && said != dtype) fail("parameter ", array.name, " is of another type than the symbol says");
  }

 private:
  // What only has one output.
  const Node& source(const Entry& entry) const {
    if (entry.output) fail("output ", entry.output, " of ", nodes_[entry.node].name, " does not exist");
    return nodes_[entry.node];
  }

  static bool is_data(const Node& node) { return node.is_variable() && node.name == "data"; }

  // Does it make (N, C, 1, 1) of the data, (N, C)?
  bool is_flattening(const Node& node) const {
    if (node.op != "Reshape" || node.inputs.size() != 1 || !is_data(nodes_[node.inputs[0].node])) return false;
    for (const auto& attribute : node.attributes) {
      if (attribute.first != "shape" && attribute.first.compare(0, 2, "__")) return false;
    }
    return get_tuple(node.attributes, "shape") == std::vector<int64_t>{0, -1, 1, 1};
  }

  void check_operators(const Metadata& metadata) const {
    const Node* program = programs_.size() == 1 ? &nodes_[programs_.front()] : nullptr;
    std::vector<std::string> foreign;
    int64_t count = 0;
    for (const Node& node : nodes_) {
      const bool known = node.is_variable() || node.op == "binary_subgraph" || node.op == "expand_weights";
      const bool flattens = program && !program->inputs.empty() && &nodes_[program->inputs[0].node] == &node;
      if (!node.used || known || (flattens && is_flattening(node))) continue;
      ++count;
      if (std::find(foreign.begin(), foreign.end(), node.op) == foreign.end()) foreign.push_back(node.op);
    }
    if (count) {
      fail("it needs operators of MXNet: ", quoted(foreign), " (", count, count == 1 ? " node); " : " nodes); ",
           advice(metadata));
    }
    if (programs_.size() > 1) fail("it has ", programs_.size(), " programs, not one; run it with MXNet");
    if (!program) fail("it has no program");
  }

  static const std::string& parameter_name(const Node& node) {
    if (!node.is_variable()) fail(node.name, " is computed, and not a parameter");
    if (is_data(node)) fail("data is read as a parameter");
    return node.name;
  }

  void read_expanded(const Node& node, FileParameter* parameter) const {
    if (node.op != "expand_weights") fail(node.name, " is computed by ", node.op, ", and read as a parameter");
    if (node.inputs.size() != 2) fail(node.name, " must have two inputs, levels and codes");
    parameter->levels.name = parameter_name(source(node.inputs[0]));
    parameter->codes.name = parameter_name(source(node.inputs[1]));
    parameter->attributes = node.attributes;
  }

  std::vector<Node> nodes_;
  std::vector<Entry> heads_;
  std::set<std::string> variables_;
  std::vector<size_t> programs_;
};

// The pair
// -------------------------------------------------------------------------------------------------------------

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

// Throws where the file has not an array for each variable but data.
void check_names(const std::set<std::string>& variables, const Arrays& arrays) {
  std::vector<std::string> missing, unknown;
  for (const std::string& name : variables) {
    if (name != "data" && !arrays.count(name)) missing.push_back(name);
  }
  for (const auto& array : arrays) {
    if (array.first == "data" || !variables.count(array.first)) unknown.push_back(array.first);
  }
  if (!missing.empty()) fail("it lacks ", quoted(missing));
  if (!unknown.empty()) fail("it has ", quoted(unknown), ", which the symbol has not");
}

// Copies the values of parameters into the memory of the model.
void copy_values(const Graph& graph, const Arrays& arrays, ModelFiles* files) {
  size_t bytes = ModelFiles::kAlignment;
  std::map<std::string, FileArray> copies;
  const auto rounded = [](size_t size) { return (size + ModelFiles::kAlignment - 1) & -ModelFiles::kAlignment; };
  for (const auto& array : arrays) bytes += rounded(array.second.size);
  files->memory.reset(new char[bytes]);
  char* to = files->memory.get();
  to += -reinterpret_cast<uintptr_t>(to) & (ModelFiles::kAlignment - 1);
  for (const auto& each : arrays) {
    const StoredArray& array = each.second;
    if (array.dtype != kFloat32 && array.dtype != kUint8) {
      fail("parameter ", each.first, " is of type ", dtype_name(array.dtype), ", not float32 or uint8");
    }
    const bool bits = array.dtype == kUint8;
    const int64_t size = static_cast<int64_t>(bits ? array.size : array.size / sizeof(float));
    const FileArray copy = {each.first, bits, array.shape, size, to};
    graph.check(copy);
    std::memcpy(to, array.bytes, array.size);
    to += rounded(array.size);
    copies.emplace(each.first, copy);
  }
  for (FileParameter& parameter : files->parameters) {
    if (!parameter.is_expanded) parameter.array = copies.at(parameter.array.name);
    else parameter.levels = copies.at(parameter.levels.name), parameter.codes = copies.at(parameter.codes.name);
  }
}

// Throws where the program cannot take an input of the shape that the metadata tell.
void check_input(const ModelFiles& files) {
  const std::vector<int64_t>& shape = files.metadata.input_shape;
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
  try {
    graph.reset(new Graph(symbol.content));
    graph->read_program(symbol.metadata, &files);
    check_input(files);
  } catch (const Error& error) {
    fail(symbol_path, " cannot be run: ", error.what());
  }
  Arrays arrays;
  try {
    arrays = read_arrays(params, params_size);
  } catch (const Error& error) {
    fail(params_path, " is damaged or not a parameter file of MXNet: ", error.what());
  }
  try {
    check_names(graph->variables(), arrays);
    copy_values(*graph, arrays, &files);
  } catch (const Error& error) {
    fail(params_path, " does not fit ", symbol_path, ": ", error.what());
  }
  return files;
}

}  // namespace

ModelFiles read_files(const std::string& prefix) {
  const std::string symbol_path = prefix + "-symbol.json", params_path = prefix + "-0000.params";
  for (const std::string& path : {symbol_path, params_path}) {
    if (!is_file(path)) {
      throw NotFoundError(path + " is missing; a deployed model is the pair " + symbol_path + " and " + params_path);
    }
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (attempt) wait_for_export(params_path);
    const Contents contents = read_file(symbol_path);
    const Symbol symbol = read_symbol(contents.bytes.get(), contents.size, symbol_path);
    // where an export was killed between its two files, the old parameters are in the backup
    for (const std::string& path : {params_path, backup_path(params_path)}) {
      if (path != params_path && !is_file(path)) continue;
      const Contents params = read_file(path);
      if (sha256(params.bytes.get(), params.size) != symbol.metadata.params_sha256) continue;
      return combine(symbol, symbol_path, params.bytes.get(), params.size, path);
    }
  }
  fail(params_path, " is damaged, or not the file that ", symbol_path, " was exported with: export the model again");
}

ModelFiles read_files(const char* symbol, size_t symbol_size, const char* params, size_t params_size) {
  const std::string symbol_name = "the symbol", params_name = "the parameters";
  const Symbol found = read_symbol(symbol, symbol_size, symbol_name);
  if (sha256(params, params_size) != found.metadata.params_sha256) {
    fail(params_name, " are damaged, or not those that ", symbol_name, " was exported with: export the model again");
  }
  return combine(found, symbol_name, params, params_size, params_name);
}

}  // namespace bmx
