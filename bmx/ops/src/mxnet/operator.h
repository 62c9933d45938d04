// An operator as MXNet calls it: no exception gets out, and no array gets in that inference would not allow. MXNet
// hands over arrays that it never inferred (without dimensions, for which inference is asked as if they were unknown),
// so shapes and types are inferred again wherever memory is read.
#ifndef BMX_OPERATOR_H_
#define BMX_OPERATOR_H_

#include <mxnet/lib_api.h>

#include <climits>
#include <cstdint>
#include <string>
#include <vector>

#include "attributes.h"
#include "dtypes.h"
#include "error.h"
#include "report.h"
#include "tensors.h"

namespace bmx {

using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;
using Tensors = std::vector<MXTensor>;

constexpr int64_t kSerial = 1 << 15;  // elements below which starting threads costs more than it saves

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

// The arrays of an operator. All but packed bits, which are uint8, have one dtype.
struct Interface {
  struct Input {
    std::string name;
    bool packed;
  };
  std::vector<Input> inputs;  // data first
  size_t outputs;
};

// `Operator` has a name, kName, the dtypes that it computes with, Types, and static functions:
//   Parameters parse(attributes)                   throws where they are not valid
//   Interface interface(parameters)
//   void infer_shapes(parameters, std::vector<Shape>* in, std::vector<Shape>* out)   of tensors.h
//   void forward<T>(parameters, Tensors* in, Tensors* out, const OpResource&)        T: of Types
//   void backward<T>(parameters, Tensors* in, Tensors* out, const OpResource&)
//     `in`: gradients of the outputs, inputs, outputs; `out`: gradients of the inputs
template <typename Operator>
class Registered {
 public:
  static MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
    return guarded(Operator::kName, [&] {
      const Interface interface = Operator::interface(Operator::parse(attributes));
      *inputs = static_cast<int>(interface.inputs.size());
      *outputs = static_cast<int>(interface.outputs);
    });
  }

  static MXReturnValue infer_types(const Attributes& attributes, std::vector<int>* in, std::vector<int>* out) {
    return guarded(Operator::kName, [&] { find_types(Operator::interface(Operator::parse(attributes)), in, out); });
  }

  static MXReturnValue infer_shapes(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
    return guarded(Operator::kName, [&] { Operator::infer_shapes(Operator::parse(attributes), in, out); });
  }

  static MXReturnValue forward(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource& resource) {
    return guarded(Operator::kName, [&] {
      const auto parameters = Operator::parse(attributes);
      const Interface interface = Operator::interface(parameters);
      const Signature of_inputs = inputs_of(interface, *in, 0);  // their errors first
      check(parameters, interface, of_inputs, outputs_of(interface, *out, 0));
      Operator::Types::dispatch(of_inputs.types[0], [&](auto value) {
        Operator::template forward<decltype(value)>(parameters, in, out, resource);
      });
    });
  }

  static MXReturnValue backward(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource& resource) {
    return guarded(Operator::kName, [&] {
      const auto parameters = Operator::parse(attributes);
      const Interface interface = Operator::interface(parameters);
      const Signature of_inputs = inputs_of(interface, *in, interface.outputs);
      const Signature of_outputs = outputs_of(interface, *in, interface.outputs + interface.inputs.size());
      check(parameters, interface, of_inputs, of_outputs);
      outputs_of(interface, *in, 0).check_equal(of_outputs, "gradient of output");
      inputs_of(interface, *out, 0).check_equal(of_inputs, "gradient of input");
      Operator::Types::dispatch(of_inputs.types[0], [&](auto value) {
        Operator::template backward<decltype(value)>(parameters, in, out, resource);
      });
    });
  }

 private:
  static Signature inputs_of(const Interface& interface, const Tensors& arrays, size_t begin) {
    return {arrays, begin, begin + interface.inputs.size(), [&](size_t i) { return interface.inputs[i].name; }};
  }

  static Signature outputs_of(const Interface& interface, const Tensors& arrays, size_t begin) {
    return {arrays, begin, begin + interface.outputs, [](size_t i) { return "output " + std::to_string(i); }};
  }

  static void find_types(const Interface& interface, std::vector<int>* in, std::vector<int>* out) {
    int found = Operator::Types::single();
    std::string first;  // input with a known type
    for (size_t i = 0; i < in->size(); ++i) {
      const Interface::Input& input = interface.inputs[i];
      const int type = (*in)[i];
      if (input.packed && type != kUnknownDtype && type != mxnet::ext::kUint8) {
        fail(input.name, " must be uint8 (packed bits)");
      }
      if (input.packed || type == kUnknownDtype) continue;
      Operator::Types::check(input.name, type);
      if (first.empty()) first = input.name;
      if (found == kUnknownDtype) found = type;
      if (type != found) fail(first, " and ", input.name, " must have one dtype");
    }
    for (size_t i = 0; i < in->size(); ++i) {
      (*in)[i] = interface.inputs[i].packed ? static_cast<int>(mxnet::ext::kUint8) : found;
    }
    out->assign(out->size(), found);
  }

  // Throws where inference would not give these outputs for these inputs.
  template <typename Parameters>
  static void check(const Parameters& parameters, const Interface& interface, Signature inputs,
                    const Signature& outputs) {
    Signature wanted = outputs;
    wanted.types.assign(outputs.types.size(), kUnknownDtype);
    wanted.shapes.assign(outputs.shapes.size(), Shape());
    find_types(interface, &inputs.types, &wanted.types);
    Operator::infer_shapes(parameters, &inputs.shapes, &wanted.shapes);
    outputs.check_equal(wanted, "output");
  }
};

// What an operator of deployed networks has in common with others: float32, and no gradient. CachedOp refuses one
// without a backward function even for inference.
struct Deployed {
  using Types = Dtypes<float>;

  template <typename T, typename Parameters>
  static void backward(const Parameters&, Tensors*, Tensors*, const OpResource&) {
    fail("has no gradient, it is for deployment only; train the float network");
  }
};

// The operator `name` of MXNet.
#define BMX_REGISTER(name, Operator)                         \
  REGISTER_OP(name)                                          \
      .setForward(Registered<Operator>::forward, "cpu")      \
      .setBackward(Registered<Operator>::backward, "cpu")    \
      .setParseAttrs(Registered<Operator>::parse_attributes) \
      .setInferType(Registered<Operator>::infer_types)       \
      .setInferShape(Registered<Operator>::infer_shapes)

}  // namespace bmx

#endif  // BMX_OPERATOR_H_
