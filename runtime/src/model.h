// A deployed model that is ready to run.
#ifndef BMX_MODEL_H_
#define BMX_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "execution.h"
#include "files.h"
#include "plan.h"
#include "program.h"

namespace bmx {

using Shape = std::vector<int64_t>;  // images first

// It does not change, so threads can share it.
class Model {
 public:
  // Throws Error where the parameters are not those of the program, or it does not take the input that the files name.
  explicit Model(ModelFiles files);

  const Metadata& metadata() const { return files_.metadata; }
  Shape input_shape() const;  // of a batch of one image
  int64_t num_outputs() const { return static_cast<int64_t>(files_.heads.size()); }

  // Throws Error where the model does not take inputs of this shape.
  std::shared_ptr<const Plan> plan(const Shape& input) const;
  // Of an output, for so many images.
  Shape output_shape(const Plan& plan, int64_t images, int64_t index) const;
  // Of a call.
  Arrays arrays(const Plan& plan, int64_t images, const float* input, float* const* outputs) const;

 private:
  void add_parameter(const FileParameter& parameter);

  ModelFiles files_;
  Program program_;
  std::vector<Array> parameters_;
  std::vector<Shape> shapes_;                       // of the parameters
  std::vector<std::unique_ptr<float[]>> expanded_;  // the memory of those that are stored as codes
  std::shared_ptr<const Plan> plan_;                // for input_shape()
};

}  // namespace bmx

#endif  // BMX_MODEL_H_
