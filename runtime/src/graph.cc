#include "graph.h"

#include <algorithm>
#include <set>

#include "error.h"

namespace bmx {
namespace {

constexpr size_t kMaxArrays = 65536;  // inputs or outputs of a program
constexpr size_t kMaxListed = 8;      // names in a sentence

// [node, output, version], one of the nodes before.
Entry read_entry(const Json& content, size_t nodes) {
  bool valid = content.is(Json::kArray) && (content.array().size() == 2 || content.array().size() == 3);
  for (size_t i = 0; valid && i < content.array().size(); ++i) valid = content.array()[i].is(Json::kInteger);
  if (!valid) fail("an input or output must be three whole numbers");
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

// How to do without operators that only MXNet has.
const char* advice(const Metadata& metadata) {
  if (metadata.format < 4) return "export it again with this version of bmx, or run it with MXNet (docs/deploy.md)";
  if (metadata.exact) return "export it without --exact (exact=True), or run it with MXNet (docs/deploy.md)";
  return "run it with MXNet (docs/deploy.md)";
}

}  // namespace

Graph::Graph(const Json& symbol) {
  for (const Json& each : list(symbol, "nodes")) nodes_.push_back(read_node(each, nodes_.size()));
  for (const Json& head : list(symbol, "heads")) heads_.push_back(read_entry(head, nodes_.size()));
  if (heads_.empty() || heads_.size() > kMaxArrays) fail("it has ", heads_.size(), " outputs");
  for (const Entry& head : heads_) nodes_[head.node].used = true;
  for (size_t i = nodes_.size(); i-- > 0;) {  // readers before what they read
    for (const Entry& input : nodes_[i].inputs) nodes_[input.node].used |= nodes_[i].used;
  }
  std::set<std::string> names;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (node.is_variable() && (!node.inputs.empty() || !names.insert(node.name).second)) {
      fail("variable ", node.name, " has inputs, or is not the only one of its name");
    }
    if (node.used && node.op == "binary_subgraph") programs_.push_back(i);
    if (node.used && node.is_variable() && !node.is_data()) parameters_.emplace(node.name, &node);
  }
}

void Graph::check(const Metadata& metadata) const {
  check_operators(metadata);
  check_program();
}

void Graph::check_operators(const Metadata& metadata) const {
  const Node* program = programs_.size() == 1 ? &nodes_[programs_.front()] : nullptr;
  std::vector<std::string> foreign;
  int64_t count = 0;
  for (const Node& node : nodes_) {
    const bool known = node.is_variable() || node.op == "binary_subgraph" || node.op == "expand_weights";
    const bool is_input = program && !program->inputs.empty() && &input(*program, 0) == &node;
    if (!node.used || known || (is_input && is_flattening(node))) continue;
    ++count;
    if (foreign.size() <= kMaxListed && std::find(foreign.begin(), foreign.end(), node.op) == foreign.end()) {
      foreign.push_back(node.op);
    }
  }
  if (count) {
    fail("it needs operators of MXNet: ", listed(foreign), " (", count, count == 1 ? " node); " : " nodes); ",
         advice(metadata));
  }
  if (programs_.size() > 1) fail("it has ", programs_.size(), " programs, not one; run it with MXNet");
  if (!program) fail("it has no program");
}

void Graph::check_program() const {
  const Node& node = program();
  check_names(node.attributes, {"program", "num_data", "num_outputs", "channels"});
  if (get_int(node.attributes, "num_data", 1) != 1) fail("its program must have one data input");
  const int64_t num_outputs = get_int(node.attributes, "num_outputs", 1);
  if (num_outputs < 1 || num_outputs > static_cast<int64_t>(kMaxArrays)) {
    fail("num_outputs must be between 1 and ", kMaxArrays, ", got ", num_outputs);
  }
  if (node.inputs.empty() || node.inputs.size() > kMaxArrays) {
    fail("its program has ", node.inputs.size(), " inputs");
  }
  for (const Entry& entry : node.inputs) {
    if (entry.output) fail("output ", entry.output, " of ", nodes_[entry.node].name, " does not exist");
  }
  if (!input(node, 0).is_data() && !is_flattening(input(node, 0))) fail("its program does not read data");
  for (size_t i = 1; i < node.inputs.size(); ++i) check_parameter(input(node, i));
  for (const Entry& head : heads_) {
    if (&nodes_[head.node] != &node || head.output >= num_outputs) {
      fail("output ", head.output, " of ", nodes_[head.node].name, " is none of its program");
    }
  }
}

void Graph::check_parameter(const Node& node) const {
  if (node.is_data()) fail("data is read as a parameter");
  if (node.is_variable()) return;
  if (node.op != "expand_weights") fail(node.name, " is computed by ", node.op, ", and read as a parameter");
  if (node.inputs.size() != 2) fail(node.name, " must have two inputs, levels and codes");
  for (size_t i = 0; i < 2; ++i) {
    if (!input(node, i).is_variable() || input(node, i).is_data() || node.inputs[i].output) {
      fail("the levels and codes of ", node.name, " are no parameters");
    }
  }
}

bool Graph::is_flattening(const Node& node) const {
  if (node.op != "Reshape" || node.inputs.size() != 1 || node.inputs[0].output || !input(node, 0).is_data()) {
    return false;
  }
  for (const auto& attribute : node.attributes) {
    if (attribute.first != "shape" && attribute.first.compare(0, 2, "__")) return false;
  }
  return get_tuple(node.attributes, "shape") == std::vector<int64_t>{0, -1, 1, 1};
}

std::vector<int64_t> Graph::heads() const {
  std::vector<int64_t> outputs;
  for (const Entry& head : heads_) outputs.push_back(head.output);
  return outputs;
}

std::vector<const Node*> Graph::program_parameters() const {
  std::vector<const Node*> found;
  for (size_t i = 1; i < program().inputs.size(); ++i) found.push_back(&input(program(), i));
  return found;
}

const Json::Array& list(const Json& content, const char* key) {
  const Json* found = content.find(key);
  if (!found || !found->is(Json::kArray)) fail("there must be a list of ", key);
  return found->array();
}

std::string listed(const std::vector<std::string>& names) {
  std::string joined;
  for (size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) joined += (i ? ", " : "") + names[i].substr(0, 60);
  return joined + (names.size() > kMaxListed ? ", ..." : "");
}

}  // namespace bmx
