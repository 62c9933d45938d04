// Feature maps: their layouts in memory, and windows that move over them.
#ifndef BMX_FEATURE_H_
#define BMX_FEATURE_H_

#include <cstdint>
#include <string>

namespace bmx {

struct Size {
  int64_t height, width;

  int64_t pixels() const { return height * width; }
  Size padded(const Size& pad) const { return {height + 2 * pad.height, width + 2 * pad.width}; }
  bool operator==(const Size& other) const { return height == other.height && width == other.width; }
};

// "5x6"
inline std::string text(const Size& size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

// What a convolution or a pooling slides over an image. Programs and MXNet call its size `kernel`.
struct Window {
  Size size{1, 1}, stride{1, 1}, pad{0, 0}, dilate{1, 1};
  bool full = false;  // of a pooling: a last window that reaches beyond the image counts, too

  int64_t taps() const { return size.pixels(); }
  Size padded(const Size& image) const { return image.padded(pad); }
  Size reach() const { return {dilate.height * (size.height - 1) + 1, dilate.width * (size.width - 1) + 1}; }
  Size out(const Size& image) const {
    const Size rest = {padded(image).height - reach().height, padded(image).width - reach().width};
    return {(rest.height + (full ? stride.height - 1 : 0)) / stride.height + 1,
            (rest.width + (full ? stride.width - 1 : 0)) / stride.width + 1};
  }
};

// Does every row of what a window computes of an image depend on as many rows of its own?
inline bool has_rows_of_its_own(const Window& window, const Size& image) {
  const int64_t rows = window.stride.height;
  return window.reach().height <= rows && window.pad.height == 0 && window.out(image).height * rows == image.height;
}

enum class Pool { kNone, kMax, kAverage };

enum class Layout {
  kPlanar,  // float32, a channel's pixels adjacent
  kFloats,  // float32, a pixel's channels adjacent
  kShorts,  // int16, a pixel's channels adjacent
};

inline int64_t value_bytes(Layout layout) { return layout == Layout::kShorts ? 2 : 4; }

// Adjacent channels of a feature map in memory.
struct Slice {
  Layout layout;
  int64_t channels;
  int64_t stride;       // values from a channel to the next where planar, else from a pixel to the next
  int64_t image_bytes;  // from an image to the next
  char* data;

  char* at(int64_t image, int64_t channel, int64_t pixel) const {
    const int64_t value = layout == Layout::kPlanar ? channel * stride + pixel : pixel * stride + channel;
    return data + image * image_bytes + value * value_bytes(layout);
  }
  int64_t channel_stride() const { return layout == Layout::kPlanar ? stride : 1; }
  int64_t pixel_stride() const { return layout == Layout::kPlanar ? 1 : stride; }
};

}  // namespace bmx

#endif  // BMX_FEATURE_H_
