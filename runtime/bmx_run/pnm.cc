// Binary PGM and PPM: P5 or P6, width, height, the greatest value, one white space, and the values, which have two
// bytes where the greatest needs them.
#include <cmath>

#include "images.h"

namespace bmx_run {
namespace {

bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

// The next number of the header, and one byte after it.
int64_t read_number(Bytes bytes, size_t* at, const char* what, int64_t most) {
  int64_t number = -1;
  for (; *at < bytes.size; ++*at) {
    const uint8_t byte = bytes.data[*at];
    if (byte >= '0' && byte <= '9') {
      number = 10 * (number < 0 ? 0 : number) + (byte - '0');
      if (number > most) throw DecodeError(std::string("its ") + what + " is more than " + std::to_string(most));
    } else if (byte == '#') {
      while (*at < bytes.size && bytes.data[*at] != '\n' && bytes.data[*at] != '\r') ++*at;
    } else if (!is_space(byte)) {
      throw DecodeError(std::string("its ") + what + " is no number");
    } else if (number >= 0) {
      ++*at;
      return number;
    }
  }
  throw DecodeError("it is truncated");
}

// Of each value what it becomes.
std::vector<uint8_t> levels(int64_t greatest, bool gray) {
  const bool higher_byte =
      gray && greatest > 255;  // gray values of 16 bits keep their higher 8, colours are rounded to 8
  const double most = higher_byte ? 65535 : 255;
  std::vector<uint8_t> all(greatest > 255 ? 65536 : 256);
  for (size_t value = 0; value < all.size(); ++value) {
    const double share = static_cast<double>(value) / static_cast<double>(greatest);
    const int64_t level = static_cast<int64_t>(std::fmin(most, std::nearbyint(share * most)));
    all[value] = static_cast<uint8_t>(higher_byte ? level >> 8 : level);
  }
  return all;
}

}  // namespace

Image decode_pnm(Bytes bytes) {
  const int64_t channels = bytes.data[1] == '5' ? 1 : 3;
  size_t at = 2;
  if (bytes.size < 3 || !is_space(bytes.data[2])) throw DecodeError("its header is damaged");
  const int64_t width = read_number(bytes, &at, "width", kMaxPixels);
  const int64_t height = read_number(bytes, &at, "height", kMaxPixels);
  const int64_t greatest = read_number(bytes, &at, "greatest value", 65535);
  if (greatest < 1) throw DecodeError("its greatest value is 0");
  const int64_t size = greatest > 255 ? 2 : 1;
  Image image;
  if (height >= 1 && width >= 1 && width <= kMaxPixels / height &&
      static_cast<int64_t>(bytes.size - at) < height * width * channels * size) {
    throw DecodeError("it is truncated");
  }
  image.resize(height, width);
  const std::vector<uint8_t> level = levels(greatest, channels == 1);
  const uint8_t* value = bytes.data + at;
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    if (channels == 1 && i % 3) {
      image.pixels[i] = image.pixels[i - 1];
      continue;
    }
    image.pixels[i] = level[size == 1 ? value[0] : value[0] << 8 | value[1]];
    value += size;
  }
  return image;
}

}  // namespace bmx_run
