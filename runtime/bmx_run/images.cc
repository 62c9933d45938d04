#include "images.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

namespace bmx_run {
namespace {

struct Format {
  const char* name;
  std::string start;
  Image (*decode)(Bytes);  // NULL where the library for it was missing
};

const std::vector<Format>& formats() {
#ifdef BMX_WITH_JPEG
  Image (*const jpeg)(Bytes) = decode_jpeg;
#else
  Image (*const jpeg)(Bytes) = nullptr;
#endif
#ifdef BMX_WITH_PNG
  Image (*const png)(Bytes) = decode_png;
#else
  Image (*const png)(Bytes) = nullptr;
#endif
  static const std::vector<Format> all = {{"JPEG", "\xff\xd8\xff", jpeg},
                                          {"PNG", "\x89PNG\r\n\x1a\n", png},
                                          {"PGM", "P5", decode_pnm},
                                          {"PPM", "P6", decode_pnm}};
  return all;
}

std::vector<uint8_t> read_file(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status)) {
    throw std::runtime_error(errno == ENOENT || errno == ENOTDIR ? "no such image: " + path
                                                                 : path + ": " + std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) throw std::runtime_error(path + " is a folder, not an image");
  if (!S_ISREG(status.st_mode)) throw std::runtime_error("no such image: " + path);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw std::runtime_error(path + ": " + std::strerror(errno));
  std::vector<uint8_t> content(static_cast<size_t>(status.st_size));
  content.resize(std::fread(content.data(), 1, content.size(), file.get()));
  if (std::ferror(file.get())) throw std::runtime_error(path + ": " + std::strerror(errno));
  return content;
}

Image decode(const std::vector<uint8_t>& content) {
  std::string known;
  for (const Format& format : formats()) {
    if (content.size() >= format.start.size() &&
        !std::memcmp(content.data(), format.start.data(), format.start.size())) {
      if (format.decode) return format.decode({content.data(), content.size()});
      throw DecodeError("this bmx-run was built without the library that reads " + std::string(format.name));
    }
    if (format.decode) known += std::string(known.empty() ? "" : ", ") + format.name;
  }
  throw DecodeError("it is none of " + known);
}

}  // namespace

void Image::resize(int64_t new_height, int64_t new_width) {
  if (new_height < 1 || new_width < 1) throw DecodeError("it has no pixels");
  if (new_width > kMaxPixels / new_height) {
    throw DecodeError("its " + std::to_string(new_width) + "x" + std::to_string(new_height) + " pixels are more than " +
                      std::to_string(kMaxPixels));
  }
  height = new_height;
  width = new_width;
  pixels.resize(static_cast<size_t>(height * width * 3));
}

Image read_image(const std::string& path) {
  const auto refusal = [&path](const char* why) {
    return std::runtime_error(path + " cannot be decoded as an image: " + why);
  };
  try {
    return decode(read_file(path));
  } catch (const DecodeError& error) {
    throw refusal(error.what());
  } catch (const std::bad_alloc&) {
    throw refusal("memory is used up");
  }
}

}  // namespace bmx_run
