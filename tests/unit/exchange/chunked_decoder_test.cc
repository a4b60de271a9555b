#include "plugin/exchange/chunked_decoder.h"

#include <gtest/gtest.h>

#include <string>

namespace engine {
namespace {

struct Decoded {
  std::string payload;
  bool ended;
  bool broken;
  std::size_t left;
};

// `step` bytes at a time.
Decoded decode(std::string_view bytes, std::size_t step) {
  ChunkedDecoder decoder;
  std::string payload;
  std::string_view left = bytes;
  while (!left.empty() && !decoder.ended() && !decoder.broken()) {
    std::string_view part = left.substr(0, step);
    const std::size_t given = part.size();
    payload += decoder.next(part, 1 << 20);
    left.remove_prefix(given - part.size());
  }
  return {payload, decoder.ended(), decoder.broken(), left.size()};
}

TEST(ChunkedDecoder, GivesTheDataHoweverItComes) {
  const std::string body =
      "5\r\nhello\r\nA;name=\"value\"\r\n, chunked.\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1";
  for (std::size_t step = 1; step <= body.size(); ++step) {
    const Decoded decoded = decode(body, step);
    EXPECT_EQ("hello, chunked.", decoded.payload) << step;
    EXPECT_TRUE(decoded.ended) << step;
    EXPECT_EQ(14u, decoded.left) << step;
  }
}

TEST(ChunkedDecoder, GivesChunksOneByOneAndInPieces) {
  ChunkedDecoder decoder;
  std::string_view bytes = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  EXPECT_EQ("ab", decoder.next(bytes, 2));
  EXPECT_EQ("c", decoder.next(bytes, 2));
  EXPECT_EQ("de", decoder.next(bytes, 2));
  EXPECT_EQ("", decoder.next(bytes, 2));
  EXPECT_TRUE(decoder.ended());
}

TEST(ChunkedDecoder, IsNotEndedBeforeTheEmptyLine) {
  for (const char* body :
       {"", "5", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\n\r", "0\r\nA: b\r\n"}) {
    const Decoded decoded = decode(body, 100);
    EXPECT_FALSE(decoded.ended) << body;
    EXPECT_FALSE(decoded.broken) << body;
  }
}

TEST(ChunkedDecoder, TakesNothingElse) {
  for (const char* body :
       {"\r\n", "x\r\n", "-1\r\n", " 5\r\nhello", "5 \r\nhello", "5\nhello", "0x5\r\nhello", "+5\r\nhello",
        "5\r\nhelloX", "5\r\nhello\n", "1234567890123456\r\n", "0\r\n\n", "0\r\n\rX", "5;a\nb\r\n"}) {
    EXPECT_TRUE(decode(body, 100).broken) << body;
    EXPECT_TRUE(decode(body, 1).broken) << body;
  }
  EXPECT_TRUE(decode("5;" + std::string(20000, 'a'), 100).broken);
  EXPECT_TRUE(decode("0\r\n" + std::string(20000, 'a'), 100).broken);
}

}  // namespace
}  // namespace engine
