#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "check.h"
#include "files.h"
#include "pairs.h"

namespace bmx {
namespace test {
namespace {

// Both files of a model in a folder of their own, which is deleted in the end.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/bmx-test-XXXXXX";
    if (!mkdtemp(name)) throw std::runtime_error("no folder");
    path_ = name;
  }
  ~Folder() {
    for (const char* name : {"/net-symbol.json", "/net-0000.params", "/.partial-net-0000.params"}) {
      std::remove((path_ + name).c_str());
    }
    rmdir(path_.c_str());
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary) << content;
  }

 private:
  std::string path_;
};

Pair levels() { return read_pair(data_folder() + "/levels"); }
Pair flat() { return read_pair(data_folder() + "/flat"); }

// What becomes of a model with one change of its symbol, the digests made right.
ModelFiles changed(Pair pair, const std::string& part, const std::string& other) {
  pair.symbol = replaced(pair.symbol, part, other);
  return load(with_digests(pair));
}

TEST(files_read) {
  const ModelFiles files = read_files(data_folder() + "/levels");
  CHECK_EQUAL(files.metadata.format, 5);
  CHECK(!files.metadata.exact && !files.flat);
  CHECK_EQUAL(text(files.metadata.input_shape), "(3, 8, 8)");
  CHECK_EQUAL(files.metadata.classes.size(), 10u);
  CHECK_EQUAL(files.metadata.classes[0], "z\xC3\xA9ro");
  CHECK(files.metadata.has_preprocess);
  const bmx_preprocess& preprocess = files.metadata.preprocess;
  CHECK(preprocess.height == 8 && preprocess.width == 8 && preprocess.crop_ratio == 0.875);
  CHECK(preprocess.mean[0] == 0.485f && preprocess.std[2] == 0.225f);
  CHECK_EQUAL(files.program.substr(0, 6), "fconv ");
  CHECK_EQUAL(files.num_outputs, 1);
  CHECK_EQUAL(text(files.heads), "(0)");
  CHECK_EQUAL(text(files.channels), "(3)");
  size_t expansions = 0;
  for (const FileParameter& parameter : files.parameters) {
    CHECK(!parameter.array != !parameter.expansion);
    if (!parameter.expansion) continue;
    ++expansions;
    CHECK(!parameter.expansion->levels->bits && parameter.expansion->codes->bits);
    CHECK_EQUAL(parameter.expansion->attributes.at("bits"), "2");
  }
  CHECK(expansions > 0);
  for (const FileArray& array : files.arrays) {
    CHECK_EQUAL(reinterpret_cast<uintptr_t>(array.values) % ModelFiles::kAlignment, 0u);
    int64_t size = 1;
    for (int64_t length : array.shape) size *= length;
    CHECK_EQUAL(array.size, size);
  }
}

TEST(files_from_memory) {
  const ModelFiles found = load(flat()), expected = read_files(data_folder() + "/flat");
  CHECK(found.flat && found.metadata.classes.empty() && !found.metadata.has_preprocess);
  CHECK_EQUAL(text(found.metadata.input_shape), "(12)");
  CHECK_EQUAL(found.arrays.size(), expected.arrays.size());
  for (size_t i = 0; i < found.arrays.size(); ++i) {
    const FileArray &one = found.arrays[i], &other = expected.arrays[i];
    CHECK(one.name == other.name && one.shape == other.shape && one.bits == other.bits);
    CHECK(!std::memcmp(one.values, other.values, one.size * (one.bits ? 1 : sizeof(float))));
  }
}

TEST(files_missing) {
  const Folder folder;
  const Pair pair = flat();
  CHECK_ERROR(read_files(folder / "net"), "net-symbol.json is missing; a deployed model is the pair ");
  CHECK_ERROR(read_files(folder / "net-symbol.json"), "give PREFIX without -symbol.json: " + folder / "net");
  CHECK_ERROR(read_files(folder / "net-0000.params"), "give PREFIX without -0000.params: " + folder / "net");
  CHECK_ERROR(read_files(""), "PREFIX is empty: -symbol.json is missing");
  CHECK_ERROR(read_files(folder / ""), "PREFIX is how both names begin, not the folder " + folder / "");
  folder.write("net-symbol.json", pair.symbol);
  bool missing = false;
  try {
    read_files(folder / "net");
  } catch (const NotFoundError&) {
    missing = true;
  }
  CHECK(missing);
  CHECK_ERROR(read_files(folder / "net"), "net-0000.params is missing");
  mkdir((folder / "net-0000.params").c_str(), 0700);
  CHECK_ERROR(read_files(folder / "net"), "net-0000.params is a folder, not a file");
  rmdir((folder / "net-0000.params").c_str());
  folder.write("net-0000.params", "other");
  CHECK_ERROR(read_files(folder / "net"), "net-0000.params is damaged, or not the file that ");
  folder.write(".partial-net-0000.params", "other");
  CHECK_ERROR(read_files(folder / "net"), "net-0000.params is damaged, or not the file that ");
  folder.write(".partial-net-0000.params", pair.params);  // of an interrupted export
  CHECK_EQUAL(read_files(folder / "net").arrays.size(), 4u);
  folder.write("net-0000.params", pair.params);
  CHECK_EQUAL(read_files(folder / "net").arrays.size(), 4u);
  if (geteuid() != 0) {
    chmod((folder / "net-symbol.json").c_str(), 0);
    CHECK_ERROR(read_files(folder / "net"), "cannot be read");
  }
}

TEST(files_damaged) {
  const Pair pair = flat();
  CHECK_ERROR(load({"", ""}), "the symbol file is no file of `bmx export`, or damaged: byte 0");
  CHECK_ERROR(load({"{}", ""}), "there must be a list of nodes");
  CHECK_ERROR(load({R"({"nodes": []})", ""}), "the symbol file is no file of `bmx export`: it has no attribute");
  CHECK_ERROR(load({R"({"nodes": [{"attrs": {"__bmx__": 1}}]})", ""}), "is damaged: it is no text");
  CHECK_ERROR(load({std::string(20 << 20, ' '), ""}), "it has 20971520 bytes");
  CHECK_ERROR(load({pair.symbol, pair.params + "x"}), "the parameter file is damaged, or not the file that");
  CHECK_ERROR(load({pair.symbol, pair.params + "x"}), "exported with: copy both files again, or export the model");
  CHECK_ERROR(load({pair.symbol, ""}), "the parameter file is damaged, or not the file that");
  CHECK_ERROR(load({pair.symbol + " ", pair.params}), "was changed since it was exported: copy both files again, or");
  const std::string own = pair.symbol.substr(digest_place(pair.symbol, "symbol_sha256"), 64);
  CHECK_ERROR(load({pair.symbol + "\"" + own + "\"", pair.params}), "text behind the value");
  CHECK_ERROR(load({replaced(pair.symbol, "\"arg_nodes\"", "\"" + own + "\": 1, \"arg_nodes\""), pair.params}),
              "is damaged or was changed");
  CHECK_EQUAL(load(with_digests({pair.symbol + " ", pair.params})).arrays.size(), 4u);
}

TEST(files_metadata) {
  const Pair pair = levels();
  const auto refused = [&](const char* part, const char* other, const char* message) {
    CHECK_ERROR(changed(pair, part, other), message);
  };
  refused(R"(\"format\": 5)", R"(\"format\": 6)", "the symbol file has format 6, this version of bmx reads 1 to 5");
  refused(R"(\"format\": 5)", R"(\"format\": 0)", "has format 0");
  refused(R"(\"format\": 5)", R"(\"format\": \"5\")", "it has no format");
  refused(R"(\"format\": 5)", R"(\"format\": 3)", "is damaged: see exact, symbol_sha256");
  refused(R"(\"bit_order\")", R"(\"bits\")", "is damaged: see bits, bit_order");
  refused("lsb-first", "msb-first", "has bits in another order than lsb-first");
  refused(R"({\"input_shape\")", R"([\"input_shape\")", "the attribute __bmx__ of the symbol file is damaged: byte 14");
  refused(R"(\"exact\": false)", R"(\"exact\": 0)", "its exact cannot be");
  refused(R"(\"input_shape\": [3, 8, 8])", R"(\"input_shape\": [3, 8, 0])", "its input_shape cannot be");
  refused(R"(\"input_shape\": [3, 8, 8])", R"(\"input_shape\": [3, 65536, 65536])", "its input_shape cannot be");
  refused(R"(\"input_shape\": [3, 8, 8])", R"(\"input_shape\": [3, 8])", "does not take an input of shape (3, 8)");
  refused(R"(\"input_shape\": [3, 8, 8])", R"(\"input_shape\": [4, 8, 8])",
          "does not take an input of shape (4, 8, 8)");
  refused(R"(\"one\")", "1", "its classes cannot be");
  refused(R"(\"settings\": {})", R"(\"settings\": {\"a\": 1e10})", "its settings cannot be");
  refused(R"(\"settings\": {})", R"(\"settings\": [])", "its settings cannot be");
  refused(R"(\"layer_defaults\": {})", R"(\"layer_defaults\": {\"a\": []})", "its layer_defaults cannot be");
  refused(R"(\"crop_ratio\": 0.875)", R"(\"crop_ratio\": 1.5)", "its preprocess cannot be");
  refused(R"(\"size\": [8, 8])", R"(\"size\": [8.5, 8])", "its preprocess cannot be");
  refused(R"(\"std\": [0.229)", R"(\"std\": [0)", "its preprocess cannot be");
  refused(R"(\"mean\": [0.485)", R"(\"mean\": [123.7)", "of values from 0 to 1 a mean is from 0 to 1");
  const ModelFiles unbounded = changed(pair, R"(\"layer_defaults\": {})", R"(\"layer_defaults\": {\"a\": Infinity})");
  CHECK_EQUAL(unbounded.parameters.size(), 7u);
  CHECK(!changed(pair, R"(\"size\")", R"(\"sizes\")").metadata.has_preprocess);
}

TEST(files_graph) {
  const Pair pair = levels();
  const auto refused = [&](const char* part, const char* other, const char* message) {
    CHECK_ERROR(changed(pair, part, other), message);
  };
  const std::string program = "\"binary_subgraph\"";
  refused(program.c_str(), "\"Convolution\"",
          "cannot be run: it needs operators of MXNet: Convolution (1 node); run it");
  refused("\"expand_weights\"", "\"abs\"", "it needs operators of MXNet: abs (1 node); run it with MXNet (docs/");
  refused("\"expand_weights\"", "\"binary_subgraph\"", "it has 2 programs, not one");
  refused("\"op\": \"null\"", "\"op\": \"\"", "node 0 must have texts");
  refused("\"op\": \"null\"", "\"op\": 1", "node 0 must have texts");
  refused("\"op\": \"null\"", "\"op\": \"null\", \"subgraphs\": []", "node 0 has subgraphs");
  refused("\"name\": \"data\"", "\"name\": \"date\"", "its program does not read data");
  refused("\"num_data\": \"1\"", "\"num_data\": \"2\"", "its program must have one data input");
  refused("\"num_data\": \"1\"", "\"num_data\": \"1\\u0000\"", "num_data must be an integer");
  refused("\"num_outputs\": \"1\"", "\"num_outputs\": \"0\"", "num_outputs must be between 1 and");
  refused("\"num_outputs\": \"1\"", "\"outputs\": \"1\"", "unknown attribute 'outputs'");
  refused("\"channels\": \"(3,)\"", "\"channels\": \"(3, 3)\"", "must be one number");
  refused("\"channels\": \"(3,)\"", "\"channels\": \"(3;)\"", "channels must be a tuple of integers");
  refused("\"heads\"", "\"head\"", "there must be a list of heads");
  refused("\"heads\": [", "\"heads\": [[0, 0, 0], ", "output 0 of data is none of its program");
  refused("\"heads\": [", "\"heads\": [[99, 0, 0], ", "output 0 of node 99 is read, which does not exist");
  refused("\"heads\": [", "\"heads\": [[-1, 0, 0], ", "output 0 of node -1 is read, which does not exist");
  refused("\"heads\": [", "\"heads\": [[0, 0.5, 0], ", "three whole numbers");
  refused("\"inputs\": []", "\"inputs\": [[0, 0, 0]]", "output 0 of node 0 is read, which does not exist");
  CHECK_ERROR(changed(flat(), "(0, -1, 1, 1)", "(0, 1, -1, 1)"), "it needs operators of MXNet: Reshape (1 node)");
  Pair exact = flat();
  exact.symbol = replaced(exact.symbol, R"(\"exact\": false)", R"(\"exact\": true)");
  CHECK_ERROR(changed(exact, program, "\"Pooling\""), "export it without --exact (exact=True), or run it");
}

TEST(files_parameters) {
  const Pair pair = flat();
  const std::string name = load(pair).arrays[0].name;
  Pair renamed = pair;
  renamed.params = replaced(renamed.params, name, std::string(name.size(), 'x'));
  CHECK_ERROR(load(with_digests(renamed)), "the parameter file does not fit the symbol file: it lacks " + name);
  CHECK_ERROR(changed(pair, "\"__dtype__\": \"0\"", "\"__dtype__\": \"3\""),
              "is of type float32, and not as the symbol");
  CHECK_ERROR(changed(pair, "\"__shape__\": \"(", "\"__shape__\": \"(9, "), "has shape ");
  CHECK_ERROR(changed(pair, "\"__shape__\": \"(", "\"__shape__\": \"x"), "__shape__ must be a tuple");
  CHECK_EQUAL(changed(pair, "\"__dtype__\": \"0\"", "\"__dtype__\": \"-1\"").arrays.size(), 4u);
  Pair cut = pair;
  cut.params.pop_back();
  CHECK_ERROR(load(with_digests(cut)), "the parameter file is no file of `bmx export`, or damaged: it ends too");
}

}  // namespace
}  // namespace test
}  // namespace bmx
