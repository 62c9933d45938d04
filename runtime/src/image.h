// How an image becomes the input of a network.
#ifndef BMX_IMAGE_H_
#define BMX_IMAGE_H_

#include <cstdint>

#include "bmx.h"

namespace bmx {

// Pixels of the largest image that is taken.
constexpr int64_t kMaxPixels = int64_t{1} << 27;

// `image`: (height, width, 3). `input`: receives (3, preprocess.height, preprocess.width), the values that
// bmx.io.preprocess.prepare of the Python package gives with Pillow.
void prepare_image(const uint8_t* image, int64_t height, int64_t width, const bmx_preprocess& preprocess, float* input);

}  // namespace bmx

#endif  // BMX_IMAGE_H_
