// Loads mutants of the models in a folder: bmx_fuzz FOLDER [SECONDS [SEED]]. Each is an Error with a sentence or a
// model; what else happens is seen by the sanitizers that this is built with.
#include <dirent.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

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

// What becomes of a mutant: true where it is a model, false for a clean error. Replaced by the C interface and a run.
bool attempt(const Pair& pair) {
  try {
    const ModelFiles files = load(pair);
    for (const FileArray& array : files.arrays) {  // all there
      const size_t size = array.size * (array.bits ? 1 : sizeof(float));
      const std::vector<char> copy(static_cast<const char*>(array.values),
                                   static_cast<const char*>(array.values) + size);
      if (copy.size() != size) return false;
    }
    return true;
  } catch (const Error& error) {
    if (!*error.what()) throw;
    return false;
  }
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
