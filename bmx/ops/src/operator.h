// An operator as MXNet calls it: no exception gets out, and no array gets in that inference would not allow. MXNet
// hands over arrays that it never inferred (without dimensions, for which inference is asked as if they were unknown),
// so shapes and types are inferred again wherever memory is read.
#ifndef BMX_OPERATOR_H_
#define BMX_OPERATOR_H_

#include <mxnet/lib_api.h>

#include <climits>
#include <string>
#include <vector>

#include "attributes.h"
#include "error.h"
#include "report.h"
#include "tensors.h"

namespace bmx {

using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;
using Tensors = std::vector<MXTensor>;

// Shapes and types of the arrays of a call.
struct Signature {
  std::vector<Shape> shapes;
  std::vector<int> types;

  // Arrays [begin, end). `name(i)` is that of the i-th of them, for messages.
  template <typename Name>
  Signature(const Tensors& arrays, size_t begin, size_t end, const Name& name) {
    if (end > arrays.size()) fail("needs ", end, " arrays, got ", arrays.size());
    for (size_t i = begin; i < end; ++i) {
      const MXTensor& array = arrays[i];
      if (array.shape.empty()) fail(name(i - begin), " has no dimensions; a single value has shape (1)");
      Shape shape;
      for (int64_t size : array.shape) {
        if (size < 0 || size > INT_MAX) fail(name(i - begin), " has a dimension of size ", size);
        shape.push_back(static_cast<unsigned int>(size));
      }
      if (!array.data_ptr && array.size()) fail(name(i - begin), " has no memory");
      shapes.push_back(shape);
      types.push_back(array.dtype);
    }
  }

  // Throws where these are not of the `wanted` shapes and types.
  void check_equal(const Signature& wanted, const char* what) const {
    for (size_t i = 0; i < shapes.size(); ++i) {
      if (shapes[i] != wanted.shapes[i]) {
        fail(what, " ", i, " must have shape ", text(wanted.shapes[i]), ", got ", text(shapes[i]));
      }
      if (types[i] != wanted.types[i]) fail(what, " ", i, " has another dtype than was inferred");
    }
  }
};

// `Operator` has a name, kName, and static functions:
//   Parameters parse(attributes)                   throws where they are not valid
//   void count(parameters, int* inputs, int* outputs)
//   std::string input_name(parameters, size_t index)
//   void infer_types(parameters, std::vector<int>* in, std::vector<int>* out)      -1: unknown
//   void infer_shapes(parameters, std::vector<Shape>* in, std::vector<Shape>* out)   of tensors.h
//   void forward(parameters, Tensors* in, Tensors* out, const OpResource&)
//   void backward(parameters, Tensors* in, Tensors* out)
//     `in`: gradients of the outputs, inputs, outputs; `out`: gradients of the inputs
template <typename Operator>
class Registered {
 public:
  static MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
    return guarded(Operator::kName, [&] { Operator::count(Operator::parse(attributes), inputs, outputs); });
  }

  static MXReturnValue infer_types(const Attributes& attributes, std::vector<int>* in, std::vector<int>* out) {
    return guarded(Operator::kName, [&] { Operator::infer_types(Operator::parse(attributes), in, out); });
  }

  static MXReturnValue infer_shapes(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
    return guarded(Operator::kName, [&] { Operator::infer_shapes(Operator::parse(attributes), in, out); });
  }

  static MXReturnValue forward(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource& resource) {
    return guarded(Operator::kName, [&] {
      const auto parameters = Operator::parse(attributes);
      const Signature of_inputs = inputs_of(parameters, *in, 0);  // their errors first
      check(parameters, of_inputs, outputs_of(parameters, *out, 0));
      Operator::forward(parameters, in, out, resource);
    });
  }

  static MXReturnValue backward(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource&) {
    return guarded(Operator::kName, [&] {
      const auto parameters = Operator::parse(attributes);
      int inputs, outputs;
      Operator::count(parameters, &inputs, &outputs);
      const Signature of_inputs = inputs_of(parameters, *in, outputs);
      const Signature of_outputs = outputs_of(parameters, *in, outputs + inputs);
      check(parameters, of_inputs, of_outputs);
      outputs_of(parameters, *in, 0).check_equal(of_outputs, "gradient of output");
      inputs_of(parameters, *out, 0).check_equal(of_inputs, "gradient of input");
      Operator::backward(parameters, in, out);
    });
  }

 private:
  template <typename Parameters>
  static Signature inputs_of(const Parameters& parameters, const Tensors& arrays, size_t begin) {
    int inputs, outputs;
    Operator::count(parameters, &inputs, &outputs);
    return {arrays, begin, begin + inputs, [&](size_t i) { return Operator::input_name(parameters, i); }};
  }

  template <typename Parameters>
  static Signature outputs_of(const Parameters& parameters, const Tensors& arrays, size_t begin) {
    int inputs, outputs;
    Operator::count(parameters, &inputs, &outputs);
    return {arrays, begin, begin + outputs, [](size_t i) { return "output " + std::to_string(i); }};
  }

  // Throws where inference would not give these outputs for these inputs.
  template <typename Parameters>
  static void check(const Parameters& parameters, Signature inputs, const Signature& outputs) {
    Signature wanted = outputs;
    wanted.types.assign(outputs.types.size(), -1);
    wanted.shapes.assign(outputs.shapes.size(), Shape());
    Operator::infer_types(parameters, &inputs.types, &wanted.types);
    Operator::infer_shapes(parameters, &inputs.shapes, &wanted.shapes);
    outputs.check_equal(wanted, "output");
  }
};

// The operator `name` of MXNet.
#define BMX_REGISTER(name, Operator)                        \
  REGISTER_OP(name)                                         \
      .setForward(Registered<Operator>::forward, "cpu")       \
      .setBackward(Registered<Operator>::backward, "cpu")     \
      .setParseAttrs(Registered<Operator>::parse_attributes) \
      .setInferType(Registered<Operator>::infer_types)       \
      .setInferShape(Registered<Operator>::infer_shapes)

}  // namespace bmx

#endif  // BMX_OPERATOR_H_
