// The graph of a symbol file: MXNet's nodes, of which a model that runs without MXNet has one program, variables and
// weights that are expanded of them.
#ifndef BMX_GRAPH_H_
#define BMX_GRAPH_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "attributes.h"
#include "json.h"
#include "metadata.h"

namespace bmx {

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
  bool is_data() const { return is_variable() && name == "data"; }
};

class Graph {
 public:
  // Throws Error for what is no graph: its nodes read nodes before them.
  explicit Graph(const Json& symbol);
  Graph(const Graph&) = delete;

  // Throws Error where it is not one program that reads data and parameters and gives all outputs.
  void check(const Metadata& metadata) const;

  // Variables but data that the outputs need, by name.
  const std::map<std::string, const Node*>& parameters() const { return parameters_; }

  // Of a checked graph:
  const Attributes& attributes() const { return program().attributes; }  // of the program
  bool flattens() const { return !input(program(), 0).is_variable(); }   // is data, (N, C), made (N, C, 1, 1)?
  std::vector<int64_t> heads() const;                                    // which outputs of the program they are
  // The program's parameters in its order, variables or nodes of expand_weights.
  std::vector<const Node*> program_parameters() const;
  // What a node reads.
  const Node& input(const Node& node, size_t index) const { return nodes_[node.inputs[index].node]; }

 private:
  const Node& program() const { return nodes_[programs_.front()]; }
  void check_operators(const Metadata& metadata) const;
  void check_program() const;
  void check_parameter(const Node& node) const;
  bool is_flattening(const Node& node) const;

  std::vector<Node> nodes_;
  std::vector<Entry> heads_;
  std::vector<size_t> programs_;
  std::map<std::string, const Node*> parameters_;
};

// The list that a member of an object is. Throws Error where it is none.
const Json::Array& list(const Json& content, const char* key);

// Some of the names, for a sentence.
std::string listed(const std::vector<std::string>& names);

}  // namespace bmx

#endif  // BMX_GRAPH_H_
