// What the operators that convolve signs have in common: attributes with Convolution's names, and the plan of one conv.
#ifndef BMX_CONVOLUTIONS_H_
#define BMX_CONVOLUTIONS_H_

#include <string>
#include <vector>

#include "attributes.h"
#include "error.h"
#include "operation_conv.h"
#include "plan.h"

namespace bmx {

struct ConvolutionParameters {
  std::vector<int64_t> kernel, stride, pad, dilate;
  ConvWords conv;  // but for its window

  explicit ConvolutionParameters(const Attributes& attributes)
      : kernel(get_tuple(attributes, "kernel")),
        stride(get_tuple(attributes, "stride")),
        pad(get_tuple(attributes, "pad")),
        dilate(get_tuple(attributes, "dilate")) {
    if (kernel.size() > 2) fail("kernel must have 1 or 2 numbers, or none for a dense layer, got ", text(kernel));
    check_tuple("kernel", kernel, 1);
    check_tuple("stride", stride, 1);
    check_tuple("dilate", dilate, 1);
    check_tuple("pad", pad, 0);
    if (!attributes.count("num_filter")) fail("num_filter is required");
    conv.filters = get_int(attributes, "num_filter", 0);
    conv.groups = get_int(attributes, "num_group", 1);
    check_range("num_filter", conv.filters, 1);
    if (conv.groups < 1 || conv.filters % conv.groups) {
      fail("num_group must divide num_filter, got num_group ", conv.groups, " and num_filter ", conv.filters);
    }
    if (is_dense() && conv.groups != 1) fail("a dense layer (no kernel) has num_group 1, got ", conv.groups);
    conv.pad_value = get_int(attributes, "pad_value", -1);
    if (conv.pad_value < -1 || conv.pad_value > 1) fail("pad_value must be -1, 0 or 1, got ", conv.pad_value);
  }

  bool is_dense() const { return kernel.empty(); }

  Window window() const {
    const auto size = [](const std::vector<int64_t>& values, int64_t missing) {
      return Size{values.size() == 2 ? values[0] : missing, values.empty() ? missing : values.back()};
    };
    return {size(kernel, 1), size(stride, 1), size(pad, 0), size(dilate, 1)};
  }

  // Of data (samples, channels, ...) with as many dimensions as the kernel wants. A dense layer's batch is one image
  // whose pixels are the rows, where it is asked for.
  Size image(const std::vector<int64_t>& shape, bool is_one_image) const {
    return {shape.size() == 4 ? shape[2] : 1, is_dense() ? (is_one_image ? shape[0] : 1) : shape.back()};
  }

  // Of data whose dimensions are all known.
  Plan plan(const std::vector<int64_t>& shape, bool is_one_image) const {
    ConvWords words = conv;
    words.window = window();
    Instruction instruction;
    set_conv(words, &instruction);
    instruction.in = {{'x', 0, 0, shape[1]}};
    instruction.out.layout = is_dense() ? Layout::kFloats : Layout::kPlanar;
    return infer(Program({instruction}, 1, 1), {{instruction.out.layout, shape[1], image(shape, is_one_image), 0}});
  }

 private:
  void check_tuple(const char* name, const std::vector<int64_t>& values, int64_t least) const {
    if (!values.empty() && values.size() != kernel.size()) {
      fail(name, " ", text(values), " must have as many numbers as kernel, ", kernel.size());
    }
    for (int64_t value : values) check_range(name, value, least);
  }
};

}  // namespace bmx

#endif  // BMX_CONVOLUTIONS_H_
