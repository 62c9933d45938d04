#include <string>

#include "check.h"
#include "sha256.h"

namespace bmx {
namespace {

std::string digest(const std::string& text, bool by_instructions) {
  return sha256(text.data(), text.size(), by_instructions);
}

TEST(sha256_known) {
  for (bool fast : {false, true}) {
    CHECK_EQUAL(digest("", fast), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_EQUAL(digest("abc", fast), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_EQUAL(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", fast),
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK_EQUAL(digest(std::string(1000000, 'a'), fast),
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
  CHECK_EQUAL(sha256("abc", 3), digest("abc", false));
}

TEST(sha256_lengths) {
  std::string text;
  for (int length = 0; length < 200; ++length) {
    CHECK_EQUAL(digest(text, true), digest(text, false));
    text.push_back(static_cast<char>(length * 37 + 11));
  }
}

}  // namespace
}  // namespace bmx
