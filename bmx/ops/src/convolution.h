// Binary convolution of float features with packed weights; a dense layer is one with 1x1 kernel.
#ifndef BMX_CONVOLUTION_H_
#define BMX_CONVOLUTION_H_

#include <cstdint>

namespace bmx {

struct Size {
  int64_t height, width;
};

struct Convolution {
  int64_t images, channels;  // of the data
  Size image;
  int64_t channel_stride, pixel_stride;  // of the data within an image, in floats
  int64_t filters, groups;
  Size kernel, stride, pad, dilate;
  int pad_value;  // -1, +1, or 0: padded taps do not count
  int64_t out_filter_stride, out_pixel_stride;

  int64_t group_channels() const { return channels / groups; }
  int64_t group_filters() const { return filters / groups; }
  Size padded() const { return {image.height + 2 * pad.height, image.width + 2 * pad.width}; }
  Size out() const {
    return {(padded().height - dilate.height * (kernel.height - 1) - 1) / stride.height + 1,
            (padded().width - dilate.width * (kernel.width - 1) - 1) / stride.width + 1};
  }
};

// `weight` is (filters, kernel height, kernel width, ceil(group_channels / 8)), least significant bit first.
// `threshold` is null or (2, channels): thresholds, then directions.
void convolve(const Convolution& conv, const float* data, const uint8_t* weight, const float* threshold, float* out);

}  // namespace bmx

#endif  // BMX_CONVOLUTION_H_
