// What the command bmx-run is made of.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "bench.h"
#include "check.h"
#include "classify.h"
#include "exif.h"
#include "images.h"
#include "options.h"
#include "text.h"

#ifdef BMX_WITH_JPEG
// clang-format off
#include <jpeglib.h>  // needs <cstdio>
// clang-format on
#endif
#ifdef BMX_WITH_PNG
#include <png.h>
#endif

namespace bmx_run {
namespace {

using Pixels = std::vector<uint8_t>;

Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

TEST(text_for_terminals) {
  CHECK_EQUAL(printable("gr\xc3\xbc\xc3\x9f \xe4\xba\x94 \xf0\x9f\x90\x9f \\n"),
              "gr\xc3\xbc\xc3\x9f \xe4\xba\x94 \xf0\x9f\x90\x9f \\n");
  CHECK_EQUAL(printable("\x1b[31m\t\r\x7f\xc2\x9b"), "\\x1b[31m\\t\\r\\x7f\\x9b");
  CHECK_EQUAL(printable(std::string("a\0b", 3)), "a\\x00b");
  CHECK_EQUAL(printable("\xe2\x80\xae \xf3\xa0\x81\x81"), "\\u202e \\U000e0041");  // to the left from here; a tag
  CHECK_EQUAL(printable("a\nb"), "a\nb");
  CHECK_EQUAL(printable("a\nb", true), "a\\nb");
}

TEST(text_that_is_no_utf8) {
  CHECK_EQUAL(printable("\xff\xc3"), "\\udcff\\udcc3");
  CHECK_EQUAL(printable("\xc0\x80\xed\xa0\x80"), "\\udcc0\\udc80\\udced\\udca0\\udc80");
  CHECK_EQUAL(json_string("\xf5\x80\x80\x80"), "\"\\udcf5\\udc80\\udc80\\udc80\"");
}

TEST(json_text) {
  CHECK_EQUAL(json_string("a\"\\/\b\f\n\r\t\x01\x7f"), "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u007f\"");
  CHECK_EQUAL(json_string("\xc3\xbc\xf0\x9f\x90\x9f"), "\"\\u00fc\\ud83d\\udc1f\"");
  CHECK_EQUAL(json_number(0), "0.0");
  CHECK_EQUAL(json_number(1), "1.0");
  CHECK_EQUAL(json_number(100), "100.0");
  CHECK_EQUAL(json_number(0.1), "0.1");
  CHECK_EQUAL(json_number(0.0001), "0.0001");
  CHECK_EQUAL(json_number(1e-5), "1e-05");
  CHECK_EQUAL(json_number(static_cast<double>(0.7f)), "0.699999988079071");
  CHECK_EQUAL(json_number(1.0 / 3), "0.3333333333333333");
  CHECK_EQUAL(json_number(NAN), "NaN");
}

TEST(command_line) {
  const Options options = parse({"--threads", "3", "model", "--kernel=avx2", "--json", "a.jpg", "-", "--", "--bench"});
  CHECK(options.threads == 3 && options.kernel == "avx2" && options.json && !options.bench);
  CHECK_EQUAL(options.prefix, "model");
  CHECK((options.images == std::vector<std::string>{"a.jpg", "-", "--bench"}));
  CHECK(parse({"--bench", "model"}).bench && parse({"--help"}).help && parse({"--version"}).version);
  CHECK_ERROR(parse({}), "PREFIX of a model is missing");
  CHECK_ERROR(parse({"model"}), "IMAGE is missing");
  CHECK_ERROR(parse({"--bench", "model", "a", "b"}), "one IMAGE at most");
  CHECK_ERROR(parse({"--fast", "model", "a"}), "no such option: --fast");
  CHECK_ERROR(parse({"--json=1", "model", "a"}), "--json=1");
  CHECK_ERROR(parse({"model", "a", "--threads"}), "--threads needs a value");
  CHECK_ERROR(parse({"model", "a", "--kernel="}), "--kernel: a name");
  CHECK_EQUAL(parse({"model", "a", "--threads", "0"}).threads, 0);
  for (const char* number : {"-1", "", "two", "2.0", "99999999999999999999"}) {
    CHECK_ERROR(parse({"model", "a", "--threads", number}), std::string("a number from 0 on, not '") + number + "'");
  }
}

TEST(likeliest_classes) {
  const std::vector<Guess> guesses = likeliest({1, 3, 2, 3, -1000, 0, 0}, 5);
  const size_t order[] = {1, 3, 2, 0, 5};
  const double sum = 2 + std::exp(-1.0) + std::exp(-2.0) + 2 * std::exp(-3.0);
  CHECK_EQUAL(guesses.size(), 5u);
  for (size_t i = 0; i < guesses.size(); ++i) CHECK_EQUAL(guesses[i].index, order[i]);
  CHECK_EQUAL(guesses[2].probability, static_cast<double>(static_cast<float>(std::exp(-1.0) / sum)));
  CHECK_EQUAL(likeliest({1e30f, -1e30f}, 5).size(), 2u);
  CHECK_EQUAL(likeliest({1e30f, -1e30f}, 1)[0].probability, 1.0);
}

TEST(latencies) {
  std::vector<double> times;
  for (int i = 200; i > 0; --i) times.push_back(i);
  const Latency latency = summarize(times);
  CHECK(latency.runs == 200 && latency.min_ms == 1 && latency.median_ms == 100.5 && latency.p99_ms == 198);
  CHECK_EQUAL(summarize({7}).p99_ms, 7.0);
}

TEST(pnm_images) {
  const Image image = decode_pnm(bytes_of("P6 #two\n 2\t1\n255\nabcdef!"));
  CHECK(image.width == 2 && image.height == 1 && image.pixels == Pixels({'a', 'b', 'c', 'd', 'e', 'f'}));
  CHECK(decode_pnm(bytes_of("P5\n2 1\n255\nab")).pixels == Pixels({'a', 'a', 'a', 'b', 'b', 'b'}));
  CHECK(decode_pnm(bytes_of("P5 3 1 2\n\1\2\3")).pixels == Pixels({128, 128, 128, 255, 255, 255, 255, 255, 255}));
  // 16 bits: gray values keep the higher byte, colours are rounded
  CHECK(decode_pnm(bytes_of("P5 1 1 65535\n\x12\xff")).pixels == Pixels({0x12, 0x12, 0x12}));
  CHECK(decode_pnm(bytes_of(std::string("P6 1 1 65535\n\x12\xff\0\0\xff\xff", 19))).pixels == Pixels({0x13, 0, 255}));
}

TEST(pnm_images_that_are_refused) {
  for (const char* text : {"P5", "P5 1 1 255", "P6 1 1 255\nab", "P5 1", "P5 1 1 256\na", "P6 99999 1 255\n"}) {
    CHECK_ERROR(decode_pnm(bytes_of(text)), std::string(text) == "P5" ? "damaged" : "truncated");
  }
  CHECK_ERROR(decode_pnm(bytes_of("P5 0 1 255\na")), "it has no pixels");
  CHECK_ERROR(decode_pnm(bytes_of("P5 100000 100000 255\n")), "more than 134217728");
  CHECK_ERROR(decode_pnm(bytes_of("P5 99999999999999999999 1 255\na")), "its width is more than");
  CHECK_ERROR(decode_pnm(bytes_of("P5 -1 1 255\na")), "its width is no number");
  CHECK_ERROR(decode_pnm(bytes_of("P5 1 1 0\na")), "greatest value is 0");
  CHECK_ERROR(decode_pnm(bytes_of("P5 1 1 65536\na")), "greatest value is more than 65535");
}

TEST(image_files) {
  const char* environment = std::getenv("TMPDIR");
  std::string path = std::string(environment ? environment : "/tmp") + "/bmx-run-XXXXXX";
  const int descriptor = mkstemp(&path[0]);
  std::FILE* file = fdopen(descriptor, "wb");
  std::fputs("P5 1 1 255\na", file);
  std::fflush(file);
  CHECK(read_image(path).pixels == Pixels({'a', 'a', 'a'}));
  std::rewind(file);
  std::fputs("GIF89a", file);
  std::fclose(file);
  CHECK_ERROR(read_image(path), path + " cannot be decoded as an image: it is none of ");
  std::remove(path.c_str());
  CHECK_ERROR(read_image(path), "no such image: " + path);
  CHECK_ERROR(read_image("/"), "is a folder");
}

#if defined(BMX_WITH_JPEG) || defined(BMX_WITH_PNG)
// A file that is cut anywhere is refused, or what is missing does not matter; one with wrong bytes is a picture or
// refused.
void check_damaged(Image (*decode)(Bytes), const Pixels& file) {
  const Pixels pixels = decode({file.data(), file.size()}).pixels;
  for (size_t size = 0; size < file.size(); ++size) {
    const Pixels cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));  // of its own, for sanitizers
    try {
      CHECK(decode({cut.data(), cut.size()}).pixels == pixels);
    } catch (const DecodeError&) {
    }
  }
  std::minstd_rand random(7);
  for (int round = 0; round < 1000; ++round) {
    Pixels wrong = file;
    for (int i = 0; i < 3; ++i) wrong[random() % wrong.size()] = static_cast<uint8_t>(random() >> 8);
    try {
      const Image image = decode({wrong.data(), wrong.size()});
      CHECK_EQUAL(static_cast<int64_t>(image.pixels.size()), 3 * image.height * image.width);
    } catch (const DecodeError&) {
    }
  }
}
#endif

TEST(orientation) {
  const std::string head("Exif\0\0MM\0*\0\0\0\x08", 14), entries("\0\x01", 2);
  const std::string entry("\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 12);
  const auto found = [](const std::string& exif) { return exif_orientation(bytes_of(exif)); };
  CHECK_EQUAL(found(head + entries + entry), 6);
  CHECK_EQUAL(found((head + entries + entry).substr(6)), 6);
  CHECK_EQUAL(found(std::string("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0", 22)), 8);
  for (size_t size = 0; size < head.size() + 12; ++size) {
    CHECK_EQUAL(found((head + entries + entry).substr(0, size)), 1);
  }
  CHECK_EQUAL(found(head + entries + std::string("\x01\x12\0\x04\0\0\0\x01\0\0\0\x06", 12)), 1);  // another type
  CHECK_EQUAL(found(head + entries + std::string("\x01\x12\0\x03\0\0\0\x01\0\x09\0\0", 12)), 1);
  CHECK_EQUAL(found(std::string("MM\0*\xff\xff\xff\xff", 8)), 1);

  Image image;
  image.resize(1, 2);
  image.pixels = {1, 2, 3, 4, 5, 6};
  make_upright(&image, 8);
  CHECK(image.height == 2 && image.width == 1 && image.pixels == Pixels({4, 5, 6, 1, 2, 3}));
}

#ifdef BMX_WITH_JPEG
Pixels write_jpeg(J_COLOR_SPACE space, int channels, uint8_t value) {
  constexpr unsigned kSize = 20;
  jpeg_compress_struct info = {};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = info.image_height = kSize;
  info.input_components = channels;
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_start_compress(&info, TRUE);
  Pixels line(kSize * static_cast<size_t>(channels), value);
  for (unsigned y = 0; y < kSize; ++y) {
    JSAMPROW row = line.data();
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  const Pixels file(memory, memory + size);
  std::free(memory);
  return file;
}

TEST(jpeg_images) {
  const auto decode = [](const Pixels& file) { return decode_jpeg({file.data(), file.size()}); };
  const Image gray = decode(write_jpeg(JCS_GRAYSCALE, 1, 100));
  CHECK(gray.height == 20 && gray.width == 20 && gray.pixels == Pixels(1200, 100));
  CHECK(decode(write_jpeg(JCS_RGB, 3, 100)).pixels == Pixels(1200, 100));
  CHECK(decode(write_jpeg(JCS_CMYK, 4, 128)).pixels == Pixels(1200, 64));  // half the ink, half of that black
  check_damaged(decode_jpeg, write_jpeg(JCS_RGB, 3, 100));
}
#endif

#ifdef BMX_WITH_PNG
Pixels write_png(png_uint_32 format, const void* values, png_uint_32 width, const void* colours = nullptr) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = 1;
  image.format = format;
  image.colormap_entries = 3;
  Pixels file(10000);
  png_alloc_size_t size = file.size();
  CHECK(png_image_write_to_memory(&image, file.data(), &size, 0, values, 0, colours));
  file.resize(size);
  return file;
}

TEST(png_images) {
  const auto decode = [](const Pixels& file) { return decode_png({file.data(), file.size()}).pixels; };
  const Pixels values = {1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(decode(write_png(PNG_FORMAT_GRAY, values.data(), 2)) == Pixels({1, 1, 1, 2, 2, 2}));
  CHECK(decode(write_png(PNG_FORMAT_GA, values.data(), 2)) == Pixels({1, 1, 1, 3, 3, 3}));
  CHECK(decode(write_png(PNG_FORMAT_RGB, values.data(), 2)) == Pixels({1, 2, 3, 4, 5, 6}));
  CHECK(decode(write_png(PNG_FORMAT_RGBA, values.data(), 2)) == Pixels({1, 2, 3, 5, 6, 7}));
  const Pixels indices = {2, 0, 1};
  CHECK(decode(write_png(PNG_FORMAT_RGB_COLORMAP, indices.data(), 3, "abcdefghi")) ==
        Pixels({'g', 'h', 'i', 'a', 'b', 'c', 'd', 'e', 'f'}));
  check_damaged(decode_png, write_png(PNG_FORMAT_RGB, values.data(), 2));
}
#endif

}  // namespace
}  // namespace bmx_run
