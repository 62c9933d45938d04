// Loads and runs mutants of the models in a folder: bmx_fuzz FOLDER [SECONDS [SEED]]. Each is an error with a sentence
// or a model; what else happens is seen by the sanitizers that this is built with.
#include <dirent.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "bmx.h"
#include "model.h"
#include "operations.h"
#include "pairs.h"

namespace bmx {
namespace test {
namespace {

using Random = std::mt19937;

size_t below(size_t bound, Random* random) { return std::uniform_int_distribution<size_t>(0, bound - 1)(*random); }

void flip(std::string* text, Random* random) { (*text)[below(text->size(), random)] ^= 1 << below(8, random); }

void truncate(std::string* text, Random* random) { text->resize(below(text->size(), random)); }

void repeat(std::string* text, Random* random) {
  const size_t begin = below(text->size(), random);
  text->insert(begin, text->substr(below(text->size(), random), 1 + below(200, random)));
}

void cut(std::string* text, Random* random) { text->erase(below(text->size(), random), 1 + below(200, random)); }

// Four or eight bytes become another number.
void overwrite(std::string* text, Random* random) {
  static const int64_t values[] = {0,         1,         -1,        2,         3,       255,       INT32_MAX,
                                   INT32_MIN, INT64_MAX, INT64_MIN, 1LL << 32, 1 << 16, 1LL << 62, 0x112};
  const size_t size = below(2, random) ? 8 : 4;
  if (text->size() < size) return;
  std::memcpy(&(*text)[below(text->size() - size + 1, random)], &values[below(sizeof values / sizeof *values, random)],
              size);
}

// One of the parts that a function finds in the text, as pairs of begin and end, becomes another of them or a word.
void replace_part(std::string* text, Random* random, bool (*belongs)(char), const std::vector<std::string>& words) {
  std::vector<std::pair<size_t, size_t>> parts;
  for (size_t i = 0; i < text->size(); ++i) {
    if (!belongs((*text)[i])) continue;
    if (parts.empty() || parts.back().second != i) parts.emplace_back(i, i);
    parts.back().second = i + 1;
  }
  if (parts.empty()) return;
  const auto one = parts[below(parts.size(), random)], other = parts[below(parts.size(), random)];
  const std::string by =
      below(2, random) ? words[below(words.size(), random)] : text->substr(other.first, other.second - other.first);
  text->replace(one.first, one.second - one.first, by);
}

void number(std::string* text, Random* random) {
  replace_part(text, random, [](char c) { return (c >= '0' && c <= '9') || c == '-'; },
               {"0", "-1", "1", "2", "7", "64", "255", "2147483647", "2147483648", "4294967296", "9223372036854775807",
                "1e9", "nan", "0.5"});
}

void word(std::string* text, Random* random) {
  replace_part(text, random, [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; },
               {"null", "data", "binary_subgraph", "expand_weights", "Reshape", "s0", "y0", "conv", "map", "true", ""});
}

void mark(std::string* text, Random* random) {
  replace_part(text, random, [](char c) { return c && std::strchr("[]{},:;|=()", c) != nullptr; },
               {"[", "]", "{", "}", ",", ":", ";", "|", "=", "(", ")", "[]", "\\\""});
}

const std::vector<void (*)(std::string*, Random*)> kOfBytes = {flip, truncate, repeat, cut, overwrite};
const std::vector<void (*)(std::string*, Random*)> kOfTexts = {flip,   truncate, repeat, cut,  number,
                                                               number, number,   word,   word, mark};

struct FreeModel {
  void operator()(bmx_model* model) const { bmx_model_free(model); }
};
struct FreeSession {
  void operator()(bmx_session* session) const { bmx_session_free(session); }
};

// Can it run in little time and memory? What hostile programs may ask for is not bounded by the size of the files.
bool is_small(const Pair& pair) {
  constexpr double kMostValues = 1e5, kMostWork = 1e7;
  const Model model(load(pair));
  const std::shared_ptr<const Plan> plan = model.plan(model.input_shape());
  double values = static_cast<double>(plan->data[0].values()), work = 0;
  for (const PlannedInstruction& instruction : plan->instructions) {
    const double written = static_cast<double>(instruction.out.values());
    values += written;
    work += written * instruction.operation->work(instruction.problem.get());
  }
  return values < kMostValues && work < kMostWork;
}

bool has_sentence(bmx_status status, const bmx_error& error) {
  if (status != BMX_OK && !*error.text) throw std::runtime_error("an error without a sentence");
  return status == BMX_OK;
}

// What becomes of a mutant: true where it is a model, which is run, false for a clean error.
bool attempt(const Pair& pair) {
  bmx_error error;
  bmx_model* loaded = nullptr;
  bmx_session* created = nullptr;
  if (!has_sentence(bmx_model_load_memory(BMX_API_VERSION, pair.symbol.data(), pair.symbol.size(), pair.params.data(),
                                          pair.params.size(), &loaded, &error),
                    error)) {
    return false;
  }
  const std::unique_ptr<bmx_model, FreeModel> model(loaded);
  if (!is_small(pair)) return true;
  if (!has_sentence(bmx_session_create(loaded, 2, nullptr, &created, &error), error)) return false;
  const std::unique_ptr<bmx_session, FreeSession> session(created);
  bmx_shape shape = bmx_model_input_shape(loaded);
  shape.sizes[0] = 2;
  std::vector<std::vector<float>> outputs;
  std::vector<float*> arrays;
  const auto count = [](const bmx_shape& of) {
    size_t values = 1;
    for (int i = 0; i < of.dims; ++i) values *= static_cast<size_t>(of.sizes[i]);
    return values;
  };
  for (int64_t index = 0; index < bmx_model_num_outputs(loaded); ++index) {
    bmx_shape output;
    if (!has_sentence(bmx_model_output_shape(loaded, &shape, index, &output, &error), error)) return false;
    outputs.emplace_back(count(output));
    arrays.push_back(outputs.back().data());
  }
  const std::vector<float> input(count(shape), 0.25f);
  return has_sentence(bmx_session_run(created, input.data(), &shape, arrays.data(), &error), error);
}

std::vector<Pair> read_folder(const std::string& folder) {
  const std::string end = "-symbol.json";
  std::vector<std::string> names;
  if (DIR* entries = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(entries)) {
      const std::string name = entry->d_name;
      if (name.size() > end.size() && name.substr(name.size() - end.size()) == end) names.push_back(name);
    }
    closedir(entries);
  }
  std::sort(names.begin(), names.end());
  std::vector<Pair> pairs;
  for (const std::string& name : names) {
    pairs.push_back(read_pair(folder + "/" + name.substr(0, name.size() - end.size())));
  }
  return pairs;
}

int fuzz(const std::string& folder, double seconds, unsigned int seed) {
  Random random(seed);
  const std::vector<Pair> pairs = read_folder(folder);
  if (pairs.empty()) throw std::runtime_error("there are no models in " + folder);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  long tried = 0, loaded = 0;
  for (; std::chrono::steady_clock::now() < end; ++tried) {
    Pair pair = pairs[below(pairs.size(), &random)];
    for (size_t left = 1 + below(3, &random); left > 0; --left) {
      const bool symbol = below(4, &random) > 0;
      std::string* text = symbol ? &pair.symbol : &pair.params;
      const auto& mutations = symbol ? kOfTexts : kOfBytes;
      if (!text->empty()) mutations[below(mutations.size(), &random)](text, &random);
    }
    if (below(8, &random)) pair = with_digests(std::move(pair));  // else little gets beyond them
    loaded += attempt(pair);
  }
  std::printf("%ld tried: %ld loaded, %ld clean errors, 0 other\n", tried, loaded, tried - loaded);
  return tried == 0;
}

}  // namespace
}  // namespace test
}  // namespace bmx

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [SECONDS [SEED]]\n", *arguments);
    return 2;
  }
  return bmx::test::fuzz(arguments[1], count > 2 ? std::atof(arguments[2]) : 5,
                         count > 3 ? static_cast<unsigned int>(std::atoi(arguments[3])) : 1);
}
