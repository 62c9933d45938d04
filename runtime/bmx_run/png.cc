#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "exif.h"
#include "images.h"

namespace bmx_run {
namespace {

// One decompression. libpng leaves by longjmp when it fails; between there and its calls are no objects with
// destructors.
class Png {
 public:
  explicit Png(Bytes bytes) : rest_(bytes) {
    png_ = png_create_read_struct(
        PNG_LIBPNG_VER_STRING, this,
        [](png_structp png, png_const_charp message) {
          Png* self = static_cast<Png*>(png_get_error_ptr(png));
          std::strncpy(self->message_, message, sizeof self->message_ - 1);
          png_longjmp(png, 1);
        },
        [](png_structp, png_const_charp) {});
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  void decode(Image* image) {
    if (setjmp(png_jmpbuf(png_))) throw DecodeError(message_);
    read_header();
    image->resize(png_get_image_height(png_, info_), png_get_image_width(png_, info_));
    std::vector<png_bytep> rows(static_cast<size_t>(image->height));
    for (size_t y = 0; y < rows.size(); ++y) rows[y] = &image->pixels[3 * y * static_cast<size_t>(image->width)];
    read_rows(rows.data(), image->width);
  }

 private:
  void read_header() {
    png_set_read_fn(png_, this, [](png_structp png, png_bytep out, size_t size) {
      Bytes& rest = static_cast<Png*>(png_get_io_ptr(png))->rest_;
      if (size > rest.size) png_error(png, "it is truncated");
      std::copy(rest.data, rest.data + size, out);
      rest.data += size;
      rest.size -= size;
    });
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);             // Image::resize has its own
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // texts, profiles, ...
    png_read_info(png_, info_);
  }

  void read_rows(png_bytep* rows, int64_t width) {
    if (setjmp(png_jmpbuf(png_))) throw DecodeError(message_);
    png_set_palette_to_rgb(png_);
    png_set_expand_gray_1_2_4_to_8(png_);
    png_set_strip_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != static_cast<size_t>(3 * width))
      png_error(png_, "its pixels are of an odd kind");
    png_read_image(png_, rows);  // what comes after it does not matter
  }

  png_structp png_;
  png_infop info_;
  Bytes rest_;
  char message_[128] = {};
};

// The chunk eXIf, which may stand behind the pixels, too; nothing where there is none. libpng is told to leave out what
// is not pixels.
Bytes find_exif(Bytes bytes) {
  for (size_t at = 8; bytes.size >= 12 && at <= bytes.size - 12;) {  // length, name, content, CRC
    const size_t length = png_get_uint_32(bytes.data + at);
    if (length > bytes.size - 12 - at) break;
    if (!std::memcmp(bytes.data + at + 4, "eXIf", 4)) return {bytes.data + at + 8, length};
    at += 12 + length;
  }
  return {nullptr, 0};
}

}  // namespace

Image decode_png(Bytes bytes) {
  Image image;
  Png(bytes).decode(&image);
  make_upright(&image, exif_orientation(find_exif(bytes)));
  return image;
}

}  // namespace bmx_run
