#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

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
    const bool indexed = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE;
    std::vector<uint8_t> indices(indexed ? image->pixels.size() / 3 : 0);
    std::vector<png_bytep> rows(static_cast<size_t>(image->height));
    for (size_t y = 0; y < rows.size(); ++y) {
      const size_t first = y * static_cast<size_t>(image->width);
      rows[y] = indexed ? &indices[first] : &image->pixels[3 * first];
    }
    read_rows(rows.data(), indices, image);
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

  // `indices`: what `rows` point to if the image has a palette.
  void read_rows(png_bytep* rows, const std::vector<uint8_t>& indices, Image* image) {
    if (setjmp(png_jmpbuf(png_))) throw DecodeError(message_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    if (indices.empty()) {
      png_set_expand_gray_1_2_4_to_8(png_);
      png_set_gray_to_rgb(png_);
    } else {
      png_set_packing(png_);
    }
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != static_cast<size_t>(image->width) * (indices.empty() ? 3 : 1)) {
      png_error(png_, "its pixels are of an unknown kind");
    }
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    if (!indices.empty()) look_up(indices, image);
  }

  void look_up(const std::vector<uint8_t>& indices, Image* image) {
    png_colorp palette = nullptr;
    int length = 0;
    png_get_PLTE(png_, info_, &palette, &length);
    uint8_t* pixel = image->pixels.data();
    for (const uint8_t index : indices) {
      const png_color colour = index < length ? palette[index] : png_color{index, index, index};
      *pixel++ = colour.red;
      *pixel++ = colour.green;
      *pixel++ = colour.blue;
    }
  }

  png_structp png_;
  png_infop info_;
  Bytes rest_;
  char message_[128] = {};
};

}  // namespace

Image decode_png(Bytes bytes) {
  Image image;
  Png(bytes).decode(&image);
  return image;
}

}  // namespace bmx_run
