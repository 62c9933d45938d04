#include <csetjmp>
#include <cstdio>
#include <cstring>
// clang-format off
#include <jpeglib.h>  // needs the one above
#include <jerror.h>
// clang-format on

#include "exif.h"
#include "images.h"

namespace bmx_run {
namespace {

constexpr int kExifMarker = JPEG_APP0 + 1;

// One decompression. libjpeg leaves by longjmp to `stop` when it fails; between there and its calls are no objects with
// destructors.
class Jpeg {
 public:
  explicit Jpeg(Bytes bytes) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) { std::longjmp(static_cast<Jpeg*>(info->client_data)->stop_, 1); };
    errors_.emit_message = [](j_common_ptr, int) {};
    errors_.output_message = [](j_common_ptr) {};
    info_.client_data = this;
    source_.next_input_byte = bytes.data;
    source_.bytes_in_buffer = bytes.size;
    source_.init_source = [](j_decompress_ptr) {};
    source_.term_source = [](j_decompress_ptr) {};
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.fill_input_buffer = [](j_decompress_ptr info) -> boolean {
      ERREXIT(info, JERR_INPUT_EOF);
      return FALSE;
    };
    source_.skip_input_data = [](j_decompress_ptr info, long count) {
      if (count <= 0) return;
      if (static_cast<size_t>(count) > info->src->bytes_in_buffer) ERREXIT(info, JERR_INPUT_EOF);
      info->src->next_input_byte += count;
      info->src->bytes_in_buffer -= static_cast<size_t>(count);
    };
  }
  ~Jpeg() { jpeg_destroy_decompress(&info_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  void decode(Image* image) {
    if (setjmp(stop_)) throw_error();
    read_header();
    image->resize(info_.image_height, info_.image_width);
    row_.resize(static_cast<size_t>(info_.image_width) * 4);
    if (setjmp(stop_)) throw_error();
    read_rows(image);
    make_upright(image, orientation_);
  }

 private:
  void read_header() {
    jpeg_create_decompress(&info_);
    info_.client_data = this;
    info_.src = &source_;
    jpeg_save_markers(&info_, kExifMarker, 0xffff);
    jpeg_read_header(&info_, TRUE);
    for (jpeg_saved_marker_ptr marker = info_.marker_list; marker; marker = marker->next) {
      if (marker->data_length < 6 || std::memcmp(marker->data, "Exif\0\0", 6)) continue;
      orientation_ = exif_orientation({marker->data, marker->data_length});
      break;
    }
  }

  void read_rows(Image* image) {
    switch (info_.num_components) {
      case 1: info_.out_color_space = JCS_GRAYSCALE; break;
      case 3: info_.out_color_space = JCS_RGB; break;
      case 4: info_.out_color_space = JCS_CMYK; break;
      default: throw DecodeError("it has " + std::to_string(info_.num_components) + " channels");
    }
    jpeg_start_decompress(&info_);
    uint8_t* pixel = image->pixels.data();
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = row_.data();
      jpeg_read_scanlines(&info_, &row, 1);
      for (int64_t x = 0; x < image->width; ++x, pixel += 3) to_rgb(row + x * info_.output_components, pixel);
    }
    jpeg_finish_decompress(&info_);
  }

  void to_rgb(const uint8_t* value, uint8_t* pixel) const {
    if (info_.num_components == 4) {  // inverted, as Adobe's programs write it: value[3] is how much is not black
      for (int channel = 0; channel < 3; ++channel) {
        const int ink = (255 - value[channel]) * value[3] + 128;
        pixel[channel] = static_cast<uint8_t>(value[3] - ((ink + (ink >> 8)) >> 8));  // ink / 255, rounded
      }
      return;
    }
    for (int channel = 0; channel < 3; ++channel) pixel[channel] = value[info_.num_components == 3 ? channel : 0];
  }

  [[noreturn]] void throw_error() {
    if (errors_.msg_code == JERR_INPUT_EOF) throw DecodeError("it is truncated");
    char text[JMSG_LENGTH_MAX];
    errors_.format_message(reinterpret_cast<j_common_ptr>(&info_), text);
    throw DecodeError(text);
  }

  jpeg_decompress_struct info_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_source_mgr source_ = {};
  std::jmp_buf stop_;
  int orientation_ = 1;
  std::vector<uint8_t> row_;
};

}  // namespace

Image decode_jpeg(Bytes bytes) {
  Image image;
  Jpeg(bytes).decode(&image);
  return image;
}

}  // namespace bmx_run
