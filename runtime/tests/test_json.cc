#include <clocale>
#include <cmath>

#include "check.h"
#include "json.h"

namespace bmx {
namespace {

Json parse(const std::string& text) { return parse_json(text.data(), text.size()); }

TEST(json_values) {
  const Json value = parse(" {\"a\" : [1, -2.5e-1, true, false, null, \"x\"],\n\t\"b\": {}, \"\": []}\r\n");
  const Json::Array& list = value.at("a").array();
  CHECK_EQUAL(list.size(), 6u);
  CHECK_EQUAL(list[0].integer(), 1);
  CHECK_EQUAL(list[0].number(), 1.0);
  CHECK_EQUAL(list[1].number(), -0.25);
  CHECK(list[2].boolean() && !list[3].boolean() && list[4].is(Json::kNull));
  CHECK_EQUAL(list[5].string(), "x");
  CHECK(value.at("b").object().empty() && value.at("").array().empty());
  CHECK(!value.find("c") && !list[0].find("a"));
  CHECK_ERROR(value.at("c"), "it has no c");
  CHECK_ERROR(list[0].string(), "it is an integer, not a string");
  CHECK_ERROR(list[1].integer(), "it is a number, not an integer");
  CHECK_ERROR(list[0].at("a"), "not an object");
  CHECK_EQUAL(parse("0").integer(), 0);
}

TEST(json_moves) {
  Json one = parse("[\"a\", {\"b\": [1]}]"), other = parse("2");
  other = std::move(one);
  CHECK_EQUAL(other.array()[1].at("b").array()[0].integer(), 1);
  const Json third(std::move(other));
  CHECK_EQUAL(third.array()[0].string(), "a");
}

TEST(json_numbers) {
  CHECK_EQUAL(parse("9223372036854775807").integer(), INT64_MAX);
  CHECK_EQUAL(parse("-9223372036854775808").integer(), INT64_MIN);
  CHECK(parse("9223372036854775808").is(Json::kReal) && parse("-9223372036854775809").is(Json::kReal));
  CHECK_EQUAL(parse("1e2").number(), 100);
  CHECK_EQUAL(parse("0.1").number(), 0.1);
  CHECK_EQUAL(parse("1E-400").number(), 0);
  CHECK(std::signbit(parse("-0.0").number()));
  CHECK(std::isinf(parse("Infinity").number()));
  CHECK_ERROR(parse("1e999"), "byte 5: the number is too large");
  for (const char* wrong : {"01", "+1", "1.", ".5", "-", "1e", "1e+", "0x1", "NaN", "-Infinity", "1,5", "--1"}) {
    CHECK_ERROR(parse(wrong), "byte ");
  }
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"}) {  // a comma, where there are such
    std::setlocale(LC_ALL, name);
    CHECK_EQUAL(parse("1.5").number(), 1.5);
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST(json_strings) {
  CHECK_EQUAL(parse(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC")").string(), "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC");
  CHECK_EQUAL(parse(R"("\ud83d\ude00")").string(), "\xF0\x9F\x98\x80");
  CHECK_EQUAL(parse(R"("\ud83d!\ude00")").string(), "\xEF\xBF\xBD!\xEF\xBF\xBD");
  CHECK_EQUAL(parse(R"("\ud83d\u0041")").string(),
              "\xEF\xBF\xBD"
              "A");
  CHECK_EQUAL(parse(R"("\u0000")").string().size(), 1u);
  CHECK_EQUAL(parse("\"\xC2\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\x7F\"").string().size(), 14u);
  for (const char* wrong : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xC3(", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82",
                            "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    CHECK_ERROR(parse("\"" + std::string(wrong) + "\""), "byte 1: the text is not UTF-8");
  }
  CHECK_ERROR(parse("\"\n\""), "byte 1: a control character");
  CHECK_ERROR(parse(R"("\x41")"), "byte 2: no such escape");
  CHECK_ERROR(parse(R"("\u12g4")"), "byte 5: four hexadecimal digits");
  CHECK_ERROR(parse("\"abc"), "byte 4: the text ends within a string");
  CHECK_ERROR(parse("\"\\"), "no such escape");
  CHECK_ERROR(parse(std::string("\"\\\0\"", 4)), "no such escape");
}

TEST(json_structure) {
  CHECK_ERROR(parse(""), "byte 0: the text ends too early");
  CHECK_ERROR(parse("[1,]"), "byte 3: no value begins here");
  CHECK_ERROR(parse("[1 2]"), "byte 3: a comma or ]");
  CHECK_ERROR(parse("[1"), "byte 2: a comma or ]");
  CHECK_ERROR(parse("{\"a\":1,}"), "byte 7: a key must follow");
  CHECK_ERROR(parse("{\"a\" 1}"), "byte 5: a colon");
  CHECK_ERROR(parse("{\"a\":1 \"b\""), "byte 7: a comma or }");
  CHECK_ERROR(parse("{\"a\":1, \"\\u0061\":2}"), "the key occurs twice");
  CHECK_ERROR(parse("{1:2}"), "a key must follow");
  CHECK_ERROR(parse("1 x"), "byte 2: text behind the value");
  CHECK_ERROR(parse("tru"), "byte 0: no value");
  CHECK_ERROR(parse("\xEF\xBB\xBF"
                    "1"),
              "byte 0: no value");
  CHECK_ERROR(parse(std::string("1\0", 2)), "text behind");
  CHECK_EQUAL(parse(std::string(65, '[') + std::string(65, ']')).array().size(), 1u);
  CHECK_ERROR(parse(std::string(100000, '[')), "nested too deeply");
  CHECK_ERROR(parse(std::string(66, '[') + std::string(66, ']')), "byte 65: nested too deeply");
}

}  // namespace
}  // namespace bmx
