// Files of images, decoded.
#ifndef BMX_RUN_IMAGES_H_
#define BMX_RUN_IMAGES_H_

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace bmx_run {

// Pixels of the largest image that is decoded.
constexpr int64_t kMaxPixels = int64_t{1} << 27;

// 8 bits a channel, red, green, blue, rows from the top.
struct Image {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;

  // Allocates; refuses what is too large.
  void resize(int64_t new_height, int64_t new_width);
};

// The contents of a file.
struct Bytes {
  const uint8_t* data;
  size_t size;
};

// What a file cannot be decoded for, in words that follow "X cannot be decoded as an image: ".
struct DecodeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Transparency is dropped, and of 16 bits the higher 8 are kept; turned as EXIF says. A file that ends early is
// refused.
#ifdef BMX_WITH_JPEG
Image decode_jpeg(Bytes bytes);
#endif
#ifdef BMX_WITH_PNG
Image decode_png(Bytes bytes);
#endif
// PGM and PPM, binary.
Image decode_pnm(Bytes bytes);

// Decodes a file by what it contains. Throws std::runtime_error that names it.
Image read_image(const std::string& path);

}  // namespace bmx_run

#endif  // BMX_RUN_IMAGES_H_
