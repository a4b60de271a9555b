#include "plugin/request/websocket_frames.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace engine {
namespace {

using Got = FrameReader::Got;
constexpr std::uint64_t kMax = 1 << 20;

// A client's frame: masked.
std::string frame(int first_byte, const std::string& payload) {
  std::string bare;
  append_frame(bare, Opcode::kText, payload);
  bare[0] = static_cast<char>(first_byte);
  bare[1] = static_cast<char>(bare[1] | 0x80);
  std::string out = bare.substr(0, bare.size() - payload.size());
  const std::string mask = "\x12\x34\x56\x78";
  out += mask;
  for (std::size_t i = 0; i < payload.size(); ++i) out.push_back(static_cast<char>(payload[i] ^ mask[i % 4]));
  return out;
}

// A server's frame as a client would send it, by a mask that changes nothing.
std::string masked(std::string bytes) {
  const auto size = static_cast<std::uint8_t>(bytes[1]);
  bytes[1] = static_cast<char>(size | 0x80);
  bytes.insert(2 + (size == 126 ? 2 : size == 127 ? 8 : 0), 4, '\0');
  return bytes;
}

void feed(FrameReader& reader, std::string_view bytes) {
  while (!bytes.empty()) {
    const FrameReader::Room room = reader.room();
    const std::size_t size = std::min(room.size, bytes.size());
    std::memcpy(room.data, bytes.data(), size);
    reader.received(size);
    bytes.remove_prefix(size);
  }
}

Got first_of(const std::string& bytes, std::uint64_t max_size = kMax) {
  FrameReader reader(max_size);
  feed(reader, bytes);
  return reader.next();
}

TEST(WebsocketFrames, AReaderThatRestsKeepsAPartOfAFrame) {
  const std::string bytes = frame(0x81, "message");
  for (std::size_t part = 1; part < bytes.size(); ++part) {
    FrameReader reader(kMax);
    feed(reader, bytes + bytes.substr(0, part));
    EXPECT_EQ(reader.next(), Got::kMessage);
    EXPECT_EQ(reader.next(), Got::kNothing);
    reader.rest();
    feed(reader, bytes.substr(part));
    EXPECT_EQ(reader.next(), Got::kMessage);
    EXPECT_EQ(reader.payload(), "message");
    EXPECT_EQ(reader.next(), Got::kNothing);
    reader.rest();
  }
}

TEST(WebsocketFrames, MessagesOfEverySizeComeWholeInPiecesOfEverySize) {
  for (const std::size_t size : {0u, 1u, 7u, 8u, 9u, 125u, 126u, 127u, 4096u, 65535u, 65536u, 300000u}) {
    std::string message(size, 'x');
    for (std::size_t i = 0; i < size; ++i) message[i] = static_cast<char>(i * 31);
    const std::string bytes = frame(0x82, message);
    const std::size_t pieces[] = {1, 3, 1000, bytes.size()};
    for (const std::size_t piece : pieces) {
      if (bytes.size() / piece > 5000) continue;
      FrameReader reader(kMax);
      for (std::size_t at = 0; at < bytes.size(); at += piece) {
        ASSERT_EQ(Got::kNothing, reader.next());
        feed(reader, std::string_view(bytes).substr(at, piece));
      }
      ASSERT_EQ(Got::kMessage, reader.next());
      EXPECT_EQ(message, reader.payload());
      EXPECT_FALSE(reader.is_text());
      EXPECT_EQ(Got::kNothing, reader.next());
    }
  }
}

TEST(WebsocketFrames, ManyMessagesInOnePieceComeOneByOne) {
  FrameReader reader(kMax);
  feed(reader, frame(0x81, "one") + frame(0x89, "p") + frame(0x82, "") + frame(0x81, "three"));
  EXPECT_EQ(Got::kMessage, reader.next());
  EXPECT_EQ("one", reader.payload());
  EXPECT_TRUE(reader.is_text());
  EXPECT_EQ(Got::kPing, reader.next());
  EXPECT_EQ("p", reader.payload());
  EXPECT_EQ(Got::kMessage, reader.next());
  EXPECT_EQ("", reader.payload());
  EXPECT_EQ(Got::kMessage, reader.next());
  EXPECT_EQ("three", reader.payload());
  EXPECT_EQ(Got::kNothing, reader.next());
}

TEST(WebsocketFrames, FragmentsAreJoinedRoundControlFrames) {
  FrameReader reader(kMax);
  feed(reader,
       frame(0x01, "a") + frame(0x8a, "") + frame(0x00, "b") + frame(0x80, "c") + frame(0x82, "next"));
  EXPECT_EQ(Got::kPong, reader.next());
  EXPECT_EQ(Got::kMessage, reader.next());
  EXPECT_EQ("abc", reader.payload());
  EXPECT_TRUE(reader.is_text());
  EXPECT_EQ(Got::kMessage, reader.next());
  EXPECT_EQ("next", reader.payload());
}

TEST(WebsocketFrames, CloseTellsItsCodeAndReason) {
  FrameReader reader(kMax);
  feed(reader, frame(0x88, "\x03\xe9gone"));
  EXPECT_EQ(Got::kClose, reader.next());
  EXPECT_EQ(1001, reader.close_code());
  EXPECT_EQ("gone", reader.payload());
  FrameReader silent(kMax);
  feed(silent, frame(0x88, ""));
  EXPECT_EQ(Got::kClose, silent.next());
  EXPECT_EQ(close_code::kNoneGiven, silent.close_code());
}

TEST(WebsocketFrames, CloseCodesThatNobodyMaySendAreBroken) {
  for (const int code : {0, 999, 1004, 1005, 1006, 1015, 2999, 5000}) {
    std::string payload;
    payload.push_back(static_cast<char>(code >> 8));
    payload.push_back(static_cast<char>(code));
    EXPECT_EQ(Got::kBroken, first_of(frame(0x88, payload))) << code;
  }
}

TEST(WebsocketFrames, WhatBreaksTheProtocolIsBroken) {
  EXPECT_EQ(Got::kBroken, first_of(frame(0xc1, "reserved bit")));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x83, "reserved opcode")));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x8b, "reserved control")));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x80, "continues nothing")));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x09, "ping in fragments")));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x89, std::string(126, 'x'))));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x88, "x")));
  EXPECT_EQ(Got::kBroken, first_of(frame(0x01, "a") + frame(0x81, "a message inside another")));
}

TEST(WebsocketFrames, MessageTooBigIsRefusedByItsHeader) {
  const std::string header = frame(0x82, std::string(70000, 'x')).substr(0, 14);
  EXPECT_EQ(Got::kBroken, first_of(header, 69999));
  EXPECT_EQ(Got::kNothing, first_of(header, 70000));
  FrameReader reader(10);
  feed(reader, frame(0x02, "12345678") + frame(0x80, "123"));
  EXPECT_EQ(Got::kBroken, reader.next());
  EXPECT_EQ(close_code::kTooBig, reader.close_code());
  EXPECT_EQ(Got::kBroken, first_of(std::string("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10) + "mask"));
}

TEST(WebsocketFrames, WhatIsSentReadsTheSame) {
  for (const std::size_t size : {0u, 125u, 126u, 65535u, 65536u}) {
    std::string bytes;
    append_frame(bytes, Opcode::kText, std::string(size, 'y'));
    FrameReader reader(kMax);
    feed(reader, masked(bytes));
    EXPECT_EQ(Got::kMessage, reader.next());
    EXPECT_EQ(std::string(size, 'y'), reader.payload());
  }
  std::string bytes;
  append_close_frame(bytes, 1011, std::string(200, 'z'));
  FrameReader reader(kMax);
  feed(reader, masked(bytes));
  EXPECT_EQ(Got::kClose, reader.next());
  EXPECT_EQ(1011, reader.close_code());
  EXPECT_EQ(std::string(123, 'z'), reader.payload());
}

TEST(WebsocketFrames, ClientThatDoesNotMaskIsBroken) {
  for (const char* bytes : {"\x81\x01x", "\x89\x01", "\x82\x7e", "\x88\x02"}) {
    FrameReader reader(kMax);
    feed(reader, bytes);
    EXPECT_EQ(Got::kBroken, reader.next()) << bytes;
    EXPECT_EQ(close_code::kProtocolError, reader.close_code());
  }
}

TEST(WebsocketFrames, TextIsUtf8) {
  for (const char* text :
       {"", "abcdefgh", "abcdefgh\xc3\xa9", "\xe2\x82\xac", "\xf0\x90\x8d\x88", "\xf4\x8f\xbf\xbf",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xe0\xa0\x80"}) {
    EXPECT_EQ(Got::kMessage, first_of(frame(0x81, text))) << text;
  }
  for (const char* text : {"\x80", "a\xff", "\xc0\x80", "\xc1\xbf", "\xc3", "12345678\xc3(", "\xe2\x82",
                           "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
                           "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xf0\x90\x8d"}) {
    FrameReader reader(kMax);
    feed(reader, frame(0x81, text));
    EXPECT_EQ(Got::kBroken, reader.next()) << text;
    EXPECT_EQ(close_code::kNotText, reader.close_code());
    EXPECT_EQ(Got::kMessage, first_of(frame(0x82, text))) << text;
  }
}

TEST(WebsocketFrames, CharactersMayBeCutByFragments) {
  FrameReader reader(kMax);
  feed(reader, frame(0x01, "\xe2") + frame(0x00, "\x82") + frame(0x80, "\xac") + frame(0x01, "\xe2") +
                   frame(0x80, ""));
  EXPECT_EQ(Got::kMessage, reader.next());
  EXPECT_EQ("\xe2\x82\xac", reader.payload());
  EXPECT_EQ(Got::kBroken, reader.next());
}

TEST(WebsocketFrames, ReasonOfACloseIsUtf8) {
  EXPECT_EQ(Got::kBroken, first_of(frame(0x88, "\x03\xe8\xff")));
}

TEST(WebsocketFrames, NoBytesAtAllDoHarm) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    FrameReader reader(5000);
    for (int piece = 0; piece < 20; ++piece) {
      std::string bytes(random() % 200, ' ');
      for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 3);
      if (!bytes.empty()) bytes[0] = static_cast<char>(random() % 2 ? 0x82 : 0x01);
      if (bytes.size() > 1) bytes[1] = static_cast<char>(bytes[1] | 0x80);
      feed(reader, bytes);
      Got got = reader.next();
      while (got != Got::kNothing && got != Got::kBroken) got = reader.next();
      if (got == Got::kBroken) break;
    }
  }
}

}  // namespace
}  // namespace engine
