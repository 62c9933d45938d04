#include "amx_emulator.h"

#ifdef __x86_64__

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace {

constexpr int kTiles = 8, kMaxRows = 16, kMaxRowBytes = 64;  // palette 1

struct Tile {
  int rows, row_bytes;  // as configured
  unsigned char data[kMaxRows][kMaxRowBytes];
};

// What LDTILECFG reads.
struct Config {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64, "the architecture's");

thread_local Config config;
thread_local Tile tiles[kTiles];
thread_local int64_t executed;

struct Instruction {
  const unsigned char* bytes;
  int prefix, opcode, reg, rm, vvvv;  // prefix: 0 none, 1 66, 2 F3, 3 F2
  bool memory, sib;
  uintptr_t address;
  int64_t stride;  // of a SIB operand: index times scale
  int length;
};

[[noreturn]] void refuse(const unsigned char* code, const char* format, ...) {
  char sentence[200];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "AMX emulator: %s; at %p:", sentence, static_cast<const void*>(code));
  for (int i = 0; i < 10; ++i) std::fprintf(stderr, " %02x", code[i]);
  std::fprintf(stderr, "\n");
  _exit(1);
}

int64_t read_register(const ucontext_t& context, int number) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context.uc_mcontext.gregs[order[number]];
}

Instruction decode(const ucontext_t& context) {
  const unsigned char* code = reinterpret_cast<const unsigned char*>(context.uc_mcontext.gregs[REG_RIP]);
  // Three-byte VEX, map 0F38, W 0, 128 bits: every instruction of AMX. R, X, B and vvvv are stored inverted.
  if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0) {
    refuse(code, "an illegal instruction that is not AMX's");
  }
  Instruction in = {};
  in.bytes = code;
  const int r = code[1] & 0x80 ? 0 : 8, x = code[1] & 0x40 ? 0 : 8, b = code[1] & 0x20 ? 0 : 8;
  in.vvvv = ~code[2] >> 3 & 15;
  in.prefix = code[2] & 3;
  in.opcode = code[3];
  const int mod = code[4] >> 6;
  in.reg = (code[4] >> 3 & 7) | r;
  in.rm = (code[4] & 7) | b;
  in.memory = mod != 3;
  in.length = 5;
  if (!in.memory) return in;
  bool base = true;
  int base_register = in.rm;
  if ((code[4] & 7) == 4) {
    const int sib = code[in.length++], index = (sib >> 3 & 7) | x;
    in.sib = true;
    base_register = (sib & 7) | b;
    base = !((sib & 7) == 5 && mod == 0);
    if (index != 4) in.stride = read_register(context, index) * (1 << (sib >> 6));
  } else if ((code[4] & 7) == 5 && mod == 0) {
    base = false;
  }
  int32_t displacement = 0;
  if (mod == 1) {
    displacement = static_cast<int8_t>(code[in.length++]);
  } else if (mod == 2 || !base) {
    std::memcpy(&displacement, code + in.length, 4);
    in.length += 4;
  }
  in.address = static_cast<uintptr_t>(static_cast<int64_t>(displacement));
  if (base) {
    in.address += static_cast<uintptr_t>(read_register(context, base_register));
  } else if (!in.sib) {  // relative to the next instruction
    in.address += reinterpret_cast<uintptr_t>(code) + in.length;
  }
  return in;
}

Tile& configured(const Instruction& in, int number) {
  if (config.palette == 0) refuse(in.bytes, "tile %d is used, but no tiles are configured", number);
  if (number >= kTiles) refuse(in.bytes, "there is no tile %d", number);
  if (tiles[number].rows == 0) refuse(in.bytes, "tile %d is used, but not configured", number);
  return tiles[number];
}

void release() {
  std::memset(&config, 0, sizeof config);
  std::memset(tiles, 0, sizeof tiles);
}

void load_config(const Instruction& in) {
  Config read;
  std::memcpy(&read, reinterpret_cast<const void*>(in.address), sizeof read);
  release();
  if (read.palette == 0) return;
  if (read.palette != 1) refuse(in.bytes, "there is no palette %d", read.palette);
  if (read.start_row != 0) refuse(in.bytes, "start row %d is not emulated", read.start_row);
  for (const uint8_t byte : read.reserved) {
    if (byte) refuse(in.bytes, "reserved bytes of the configuration are not 0");
  }
  for (int t = 0; t < 16; ++t) {
    const int rows = read.rows[t], row_bytes = read.row_bytes[t];
    if (t >= kTiles && (rows || row_bytes)) refuse(in.bytes, "there is no tile %d to configure", t);
    if (rows > kMaxRows || row_bytes > kMaxRowBytes || (rows == 0) != (row_bytes == 0)) {
      refuse(in.bytes, "tile %d cannot have %d rows of %d bytes", t, rows, row_bytes);
    }
    if (t >= kTiles) continue;
    tiles[t].rows = rows;
    tiles[t].row_bytes = row_bytes;
  }
  config = read;
}

// Rows and columns beyond the configured ones become 0.
void load_tile(const Instruction& in) {
  Tile& tile = configured(in, in.reg);
  std::memset(tile.data, 0, sizeof tile.data);
  for (int row = 0; row < tile.rows; ++row) {
    std::memcpy(tile.data[row], reinterpret_cast<const void*>(in.address + row * in.stride), tile.row_bytes);
  }
}

void store_tile(const Instruction& in) {
  const Tile& tile = configured(in, in.reg);
  for (int row = 0; row < tile.rows; ++row) {
    std::memcpy(reinterpret_cast<void*>(in.address + row * in.stride), tile.data[row], tile.row_bytes);
  }
}

// sum[m][n] += products of the four signed bytes at a[m][k] and b[k][n]; sums wrap.
void multiply_tiles(const Instruction& in) {
  if (in.reg == in.rm || in.reg == in.vvvv || in.rm == in.vvvv) {
    refuse(in.bytes, "the tiles %d, %d, %d of a product are not three", in.reg, in.rm, in.vvvv);
  }
  Tile& sum = configured(in, in.reg);
  const Tile &a = configured(in, in.rm), &b = configured(in, in.vvvv);
  if (sum.rows != a.rows || sum.row_bytes != b.row_bytes || a.row_bytes != 4 * b.rows || sum.row_bytes % 4) {
    refuse(in.bytes, "tiles of %dx%d, %dx%d, %dx%d bytes do not fit together", sum.rows, sum.row_bytes, a.rows,
           a.row_bytes, b.rows, b.row_bytes);
  }
  for (int m = 0; m < sum.rows; ++m) {
    int32_t row[kMaxRowBytes / 4];
    std::memcpy(row, sum.data[m], sizeof row);
    for (int k = 0; k < b.rows; ++k) {
      int8_t left[4], right[kMaxRowBytes];
      std::memcpy(left, a.data[m] + 4 * k, sizeof left);
      std::memcpy(right, b.data[k], sizeof right);
      for (int n = 0; n < kMaxRowBytes / 4; ++n) {  // what is not configured is 0
        int32_t products = 0;
        for (int i = 0; i < 4; ++i) products += left[i] * right[4 * n + i];
        row[n] = static_cast<int32_t>(static_cast<uint32_t>(row[n]) + static_cast<uint32_t>(products));
      }
    }
    std::memcpy(sum.data[m], row, sizeof row);
  }
}

void execute(const Instruction& in) {
  const auto is = [&](int opcode, int prefix, bool memory) {
    return in.opcode == opcode && in.prefix == prefix && in.memory == memory;
  };
  const bool no_third = in.vvvv == 0;
  if (is(0x49, 0, true) && in.reg % 8 == 0 && no_third) {  // LDTILECFG
    Instruction operand = in;
    operand.address += operand.stride;
    load_config(operand);
  } else if (is(0x49, 1, true) && in.reg % 8 == 0 && no_third) {  // STTILECFG
    std::memcpy(reinterpret_cast<void*>(in.address + in.stride), &config, sizeof config);
  } else if (is(0x49, 0, false) && in.bytes[4] == 0xc0 && no_third) {  // TILERELEASE
    release();
  } else if (is(0x49, 3, false) && in.rm % 8 == 0 && no_third) {  // TILEZERO
    std::memset(configured(in, in.reg).data, 0, sizeof tiles[0].data);
  } else if ((is(0x4b, 3, true) || is(0x4b, 1, true)) && in.sib && no_third) {  // TILELOADD, TILELOADDT1
    load_tile(in);
  } else if (is(0x4b, 2, true) && in.sib && no_third) {  // TILESTORED
    store_tile(in);
  } else if (is(0x5e, 3, false)) {  // TDPBSSD
    multiply_tiles(in);
  } else {
    refuse(in.bytes, "an instruction that is not emulated");
  }
}

void on_illegal_instruction(int, siginfo_t*, void* context) {
  ucontext_t& interrupted = *static_cast<ucontext_t*>(context);
  const Instruction in = decode(interrupted);
  execute(in);
  ++executed;
  interrupted.uc_mcontext.gregs[REG_RIP] += in.length;
}

}  // namespace

void install_amx_emulator() {
  struct sigaction action = {};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGILL, &action, nullptr);
}

int64_t amx_instructions() { return executed; }

#endif  // __x86_64__
