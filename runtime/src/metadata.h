// What a deployed model says about itself, as JSON in the attribute __bmx__ of its symbol.
#ifndef BMX_METADATA_H_
#define BMX_METADATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "bmx.h"

namespace bmx {

// The youngest format that is read.
constexpr int kFormatVersion = 5;

struct Metadata {
  int64_t format;
  bool exact;  // do float layers keep MXNet's operators?
  std::string model;
  std::vector<int64_t> input_shape;  // of one input, without the batch
  std::vector<std::string> classes;  // empty: it has no names
  bool has_preprocess;
  bmx_preprocess preprocess;
  std::string params_sha256;
  std::string symbol_sha256;  // of the symbol with zeros in its place; empty before format 4
};

// Throws Error, which names `path`, the symbol file.
Metadata parse_metadata(const std::string& text, const std::string& path);

}  // namespace bmx

#endif  // BMX_METADATA_H_
