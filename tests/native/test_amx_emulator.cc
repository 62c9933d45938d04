// The emulator itself: tiles of intrinsics against plain loops, and what it has to refuse.
#ifdef __x86_64__

#include <immintrin.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "amx_emulator.h"
#include "random.h"
#include "tests.h"

namespace {

struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int count, int bytes) {
    rows[tile] = static_cast<uint8_t>(count);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};

#define BMX_AMX __attribute__((target("amx-tile,amx-int8"), noinline))

// out (rows, columns) += a (rows, 4 * depth) b (depth, 4 * columns), with strides in bytes.
BMX_AMX void multiply(const Config& config, const int8_t* a, int64_t a_stride, const int8_t* b, int64_t b_stride,
                      int32_t* out, int64_t out_stride) {
  _tile_loadconfig(&config);
  _tile_loadd(0, out, out_stride);
  _tile_loadd(1, a, a_stride);
  _tile_stream_loadd(2, b, b_stride);
  _tile_dpbssd(0, 1, 2);
  _tile_stored(0, out, out_stride);
  _tile_release();
}

// The same without the sum at `out`, in other tiles, with other forms of addresses.
BMX_AMX void multiply_anew(const Config& config, const int8_t* a, int64_t a_stride, const int8_t* b, int64_t b_stride,
                           int32_t* out, int64_t out_stride) {
  register int64_t stride __asm__("r13") = a_stride;  // registers that take the prefix's bits to name
  register uintptr_t base __asm__("r12") = reinterpret_cast<uintptr_t>(a) - 192;
  __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm5" : : "m"(config));
  __asm__ volatile("tileloadd 192(%0,%1,1), %%tmm6" : : "r"(base), "r"(stride) : "memory");
  __asm__ volatile("tileloaddt1 (%0,%1,4), %%tmm7" : : "r"(b), "r"(b_stride / 4) : "memory");
  __asm__ volatile("tdpbssd %%tmm7, %%tmm6, %%tmm5\n\ttilestored %%tmm5, -1024(%0,%1,2)"
                   :
                   : "r"(out + 256), "r"(out_stride / 2)
                   : "memory");
  __asm__ volatile("tilerelease");
}

bool same_products(int rows, int depth, int columns) {
  static int8_t a[16 * 80], b[16 * 80];
  static int32_t first[16 * 20], expected[16 * 20], anew[16 * 20], expected_anew[16 * 20];
  for (int8_t& value : a) value = static_cast<int8_t>(random_word());
  for (int8_t& value : b) value = static_cast<int8_t>(random_word());
  for (int32_t& value : first) value = static_cast<int32_t>(random_word());  // sums wrap
  std::memcpy(expected, first, sizeof first);
  std::memset(expected_anew, 0, sizeof expected_anew);
  std::memset(anew, 0, sizeof anew);
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < columns; ++n) {
      uint32_t sum = 0;
      for (int k = 0; k < 4 * depth; ++k) sum += static_cast<uint32_t>(a[m * 80 + k] * b[k / 4 * 80 + 4 * n + k % 4]);
      expected[m * 20 + n] = static_cast<int32_t>(static_cast<uint32_t>(expected[m * 20 + n]) + sum);
      expected_anew[m * 20 + n] = static_cast<int32_t>(sum);
    }
  }
  Config config;
  for (int tile = 0; tile < 8; tile += 5) {
    config.set(tile, rows, 4 * columns);
    config.set(tile + 1, rows, 4 * depth);
    config.set(tile + 2, depth, 4 * columns);
  }
  multiply(config, a, 80, b, 80, first, 80);
  multiply_anew(config, a, 80, b, 80, anew, 80);
  return std::memcmp(first, expected, sizeof first) == 0 && std::memcmp(anew, expected_anew, sizeof anew) == 0;
}

BMX_AMX bool keeps_config() {
  Config config, kept;
  config.set(3, 7, 12);
  kept.set(9, 1, 1);
  _tile_loadconfig(&config);
  _tile_storeconfig(&kept);
  const bool same = std::memcmp(&config, &kept, sizeof kept) == 0;
  _tile_release();
  _tile_storeconfig(&kept);
  return same && kept.palette == 0 && kept.rows[3] == 0;
}

BMX_AMX void use_released_tile(const Config& config) {
  _tile_loadconfig(&config);
  _tile_release();
  _tile_zero(0);
}
BMX_AMX void use_unconfigured_tile(const Config& config) {
  _tile_loadconfig(&config);
  _tile_zero(5);
}
BMX_AMX void configure(const Config& config) { _tile_loadconfig(&config); }
BMX_AMX void multiply_misfits(const Config& config) {
  _tile_loadconfig(&config);
  _tile_dpbssd(0, 1, 2);
}
BMX_AMX void multiply_unknown(const Config& config) {
  _tile_loadconfig(&config);
  _tile_dpbuud(0, 1, 2);
}
void not_amx(const Config&) { __asm__ volatile("ud2"); }

// Does the emulator end the program with this sentence?
bool refuses(void (*use)(const Config&), const Config& config, const char* sentence) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    use(config);
    _exit(0);
  }
  close(ends[1]);
  char text[512] = {};
  const ssize_t size = read(ends[0], text, sizeof text - 1);
  close(ends[0]);
  int status;
  waitpid(child, &status, 0);
  if (size > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 1 && std::strstr(text, sentence)) return true;
  std::printf("amx emulator: not refused with '%s' but '%s'\n", sentence, text);
  return false;
}

}  // namespace

bool amx_emulator_works() {
  const int64_t before = amx_instructions();
  int failed = 0;
  for (int rows : {1, 2, 15, 16}) {
    for (int depth : {1, 3, 16}) {
      for (int columns : {1, 7, 16}) failed += !same_products(rows, depth, columns);
    }
  }
  failed += !keeps_config();
  const bool emulated = amx_instructions() > before;
  if (emulated) {
    Config fits, wrong;
    for (int tile = 0; tile < 3; ++tile) fits.set(tile, 16, 64);
    failed += !refuses(use_released_tile, fits, "tile 0 is used, but no tiles are configured");
    failed += !refuses(use_unconfigured_tile, fits, "tile 5 is used, but not configured");
    failed += !refuses(multiply_unknown, fits, "an instruction that is not emulated");
    failed += !refuses(not_amx, fits, "an illegal instruction that is not AMX's");
    wrong = fits;
    wrong.palette = 2;
    failed += !refuses(configure, wrong, "there is no palette 2");
    wrong = fits;
    wrong.set(2, 17, 64);
    failed += !refuses(configure, wrong, "tile 2 cannot have 17 rows of 64 bytes");
    wrong.set(2, 16, 65);
    failed += !refuses(configure, wrong, "tile 2 cannot have 16 rows of 65 bytes");
    wrong.set(2, 15, 64);
    failed += !refuses(multiply_misfits, wrong, "tiles of 16x64, 16x64, 15x64 bytes do not fit together");
  }
  std::printf("amx emulator: %s%s\n", failed ? "FAILED" : "ok", emulated ? "" : " (not used: this CPU has AMX)");
  return !failed;
}

#endif  // __x86_64__
