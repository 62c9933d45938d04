// The two files of a deployed model, PREFIX-symbol.json and PREFIX-0000.params: whether they are whole, belong together
// and hold one program and its parameters.
#ifndef BMX_FILES_H_
#define BMX_FILES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attributes.h"
#include "error.h"
#include "metadata.h"

namespace bmx {

// A file that is missing or cannot be read. Whatever else is wrong with files is an Error.
struct NotFoundError : Error {
  using Error::Error;
};

// Values of a file, which begin at a multiple of kAlignment bytes.
struct FileArray {
  std::string name;
  bool bits;  // of type uint8; else float32
  std::vector<int64_t> shape;
  int64_t size;  // values
  const void* values;
};

// Weights that the operator expand_weights, with these attributes, makes of levels and codes.
struct FileExpansion {
  std::string name;
  const FileArray *levels, *codes;
  Attributes attributes;
};

// A parameter of a program, one of these; the other one is null.
struct FileParameter {
  const FileArray* array;
  const FileExpansion* expansion;
};

struct ModelFiles {
  Metadata metadata;
  bool flat;  // is the input of shape (N, C), for the program (N, C, 1, 1)? Else it is (N, C, H, W)
  std::string program;
  int64_t num_outputs;                    // of the program
  std::vector<int64_t> channels;          // of its data input, one number; empty where the file does not say it
  std::vector<int64_t> heads;             // which outputs of the program are those of the model
  std::vector<FileParameter> parameters;  // in the program's order; they point at what follows, also when it is moved
  std::vector<FileExpansion> expansions;
  std::vector<FileArray> arrays;
  std::unique_ptr<char[]> memory;  // of the arrays' values

  static constexpr size_t kAlignment = 64;
};

// Both throw NotFoundError and Error with a sentence that names the file.
ModelFiles read_files(const std::string& prefix);
// Of the contents of the files, which are not needed afterwards.
ModelFiles read_files(const char* symbol, size_t symbol_size, const char* params, size_t params_size);

}  // namespace bmx

#endif  // BMX_FILES_H_
