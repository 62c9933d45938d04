#include "exif.h"

#include <algorithm>
#include <cstring>

namespace bmx_run {
namespace {

constexpr int kUpright = 1;
constexpr uint32_t kOrientation = 0x112, kShort = 3;

// Numbers in the byte order of the file; what lies behind its end is an error.
class Reader {
 public:
  Reader(Bytes bytes, bool little) : bytes_(bytes), little_(little) {}

  uint32_t number(size_t at, size_t size) const {
    if (at > bytes_.size || size > bytes_.size - at) throw DecodeError("its EXIF ends early");
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) value = value << 8 | bytes_.data[little_ ? at + size - 1 - i : at + i];
    return value;
  }

 private:
  Bytes bytes_;
  bool little_;
};

int read(const Reader& reader) {
  const size_t directory = reader.number(4, 4), entries = reader.number(directory, 2);
  for (size_t entry = 0; entry < entries; ++entry) {
    const size_t at = directory + 2 + 12 * entry;
    const uint32_t tag = reader.number(at, 2), type = reader.number(at + 2, 2), count = reader.number(at + 4, 4);
    const uint32_t value = reader.number(at + 8, 2);
    if (tag != kOrientation) continue;
    return type == kShort && count == 1 && value >= 1 && value <= 8 ? static_cast<int>(value) : kUpright;
  }
  return kUpright;
}

}  // namespace

int exif_orientation(Bytes exif) {
  if (exif.size >= 6 && !std::memcmp(exif.data, "Exif\0\0", 6)) exif = {exif.data + 6, exif.size - 6};
  if (exif.size < 4) return kUpright;
  const bool little = !std::memcmp(exif.data, "II*\0", 4);
  if (!little && std::memcmp(exif.data, "MM\0*", 4)) return kUpright;
  try {
    return read(Reader(exif, little));
  } catch (const DecodeError&) {
    return kUpright;
  }
}

void make_upright(Image* image, int orientation) {
  if (orientation == kUpright) return;
  // Of the orientations from 5 on rows are columns; rows, then columns, are read from their end.
  const bool exchanged = orientation > 4;
  const bool rows_back = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const bool columns_back = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  Image upright;
  upright.resize(exchanged ? image->width : image->height, exchanged ? image->height : image->width);
  uint8_t* out = upright.pixels.data();
  for (int64_t y = 0; y < upright.height; ++y) {
    const int64_t row = rows_back ? upright.height - 1 - y : y;
    for (int64_t x = 0; x < upright.width; ++x, out += 3) {
      const int64_t column = columns_back ? upright.width - 1 - x : x;
      const int64_t from = exchanged ? column * image->width + row : row * image->width + column;
      std::copy_n(image->pixels.data() + 3 * from, 3, out);
    }
  }
  *image = std::move(upright);
}

}  // namespace bmx_run
