#include "plugin/request/keep_alive.h"

#include <gtest/gtest.h>

#include <string>

namespace engine {
namespace {

RequestFraming get() {
  RequestFraming request;
  request.method = "GET";
  request.protocol = "HTTP/1.1";
  return request;
}

bool delimits(std::string_view length, std::uint64_t size) {
  RequestFraming request = get();
  request.content_length = {true, length};
  request.body_size = size;
  return body_is_delimited(request);
}

TEST(RequestBody, WithoutHeadersHasNone) { EXPECT_TRUE(body_is_delimited(get())); }

TEST(RequestBody, IsDelimitedByALengthThatUwsgiReadsAlike) {
  for (const char* length : {"5", "05", " 5 ", "5\t", "5, 5", "5,5", "5 ,05"})
    EXPECT_TRUE(delimits(length, 5)) << length;
  EXPECT_TRUE(delimits("18446744073709551615", UINT64_MAX));
}

TEST(RequestBody, IsNotDelimitedByAnythingElse) {
  for (const char* length :
       {"", " ", "+5", "-5", "5.", "0x5", "5a", "5 5", "5, 6", "6, 5", "5,", ",5", "5, ", "5\r\n 5", "5_0"}) {
    EXPECT_FALSE(delimits(length, 5)) << length;
  }
  EXPECT_FALSE(delimits("5", 0));  // uWSGI reads a tab before it as no number.
  EXPECT_FALSE(delimits("18446744073709551616", 0));
  EXPECT_FALSE(delimits("18446744073709551621", 5));
  EXPECT_FALSE(delimits(std::string_view("5\0", 2), 5));
}

TEST(RequestBody, HasNoEndThatUwsgiSeesWithATransferCoding) {
  for (const char* coding : {"chunked", "Chunked", "identity", "gzip, chunked", ""}) {
    RequestFraming request = get();
    request.transfer_encoding = {true, coding};
    EXPECT_FALSE(body_is_delimited(request)) << coding;
    request.content_length = {true, "0"};
    EXPECT_FALSE(body_is_delimited(request)) << coding;
  }
}

TEST(Headers, AreUnambiguousAsTokensWithoutLineEnds) {
  EXPECT_TRUE(is_unambiguous("HTTP_X_A", "a value, \"quoted\"; \xe9\t"));
  EXPECT_TRUE(is_unambiguous("HTTP_X_A", ""));
  for (const char* name : {"", "CONTENT_LENGTH ", " A", "A\t", "A B", "A\nB", "A(B)", "\xe9"}) {
    EXPECT_FALSE(is_unambiguous(name, "a")) << name;
  }
  EXPECT_FALSE(is_unambiguous(std::string_view("A\0", 2), "a"));
  for (const char* value : {"a\r\n b", "a\nB: c", "a\rb"}) EXPECT_FALSE(is_unambiguous("A", value)) << value;
  EXPECT_FALSE(is_unambiguous("A", std::string_view("a\0b", 3)));
}

TEST(Connection, IsKeptByHttp11UnlessAsked) {
  EXPECT_TRUE(asks_to_keep(get()));
  for (const char* protocol : {"HTTP/1.0", "HTTP/1.2", "HTTP/1.1 ", "http/1.1", "", "HTTP/2.0"}) {
    RequestFraming request = get();
    request.protocol = protocol;
    EXPECT_FALSE(asks_to_keep(request)) << protocol;
  }
  for (const char* method : {"", "G ET", "\r\nGET", "CONNECT"}) {
    RequestFraming request = get();
    request.method = method;
    EXPECT_FALSE(asks_to_keep(request)) << method;
  }
  RequestFraming request = get();
  request.connection = {true, "keep-alive, Close"};
  EXPECT_FALSE(asks_to_keep(request));
}

TEST(Connection, SaysCloseAsOneOfAList) {
  for (const char* value : {"close", "CLOSE", " close ", "a, close", "close,b", ",,close", "close\r"}) {
    EXPECT_TRUE(says_close(value)) << value;
  }
  for (const char* value : {"", "keep-alive", "closed", "not close", "clos", "\"close\"", ", ,"}) {
    EXPECT_FALSE(says_close(value)) << value;
  }
}

bool ends(const std::string& headers, std::uint64_t sent, int status = 200, const char* method = "GET") {
  const std::string head = "HTTP/1.1 " + std::to_string(status) + " x\r\n" + headers;
  return response_is_delimited({method, status, head, sent});
}

TEST(Response, EndsWhereItsLengthSays) {
  EXPECT_TRUE(ends("Content-Length: 5\r\n", 5));
  EXPECT_TRUE(ends("content-length:5\r\ncontent-length: 5\r\n", 5));
  EXPECT_FALSE(ends("Content-Length: 5\r\n", 4));
  EXPECT_FALSE(ends("Content-Length: 5\r\n", 6));
  EXPECT_FALSE(ends("Content-Length: 5\r\nContent-Length: 6\r\n", 6));
  EXPECT_FALSE(ends("Content-Length: 5, 5\r\n", 5));
  EXPECT_FALSE(ends("Content-Length: +5\r\n", 5));
  EXPECT_FALSE(ends("Content-Length:\r\n", 0));
  EXPECT_FALSE(ends("", 0));
}

TEST(Response, EndsWithItsLastChunk) {
  EXPECT_TRUE(ends("Transfer-Encoding: chunked\r\n", 15));
  EXPECT_TRUE(ends("Transfer-Encoding: gzip, Chunked\r\n", 15));
  EXPECT_FALSE(ends("Transfer-Encoding: chunked, gzip\r\n", 15));
  EXPECT_FALSE(ends("Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", 15));
}

TEST(Response, ThatHasNoBodyEndsWithItsHead) {
  EXPECT_TRUE(ends("", 0, 204));
  EXPECT_TRUE(ends("Content-Length: 5\r\n", 0, 304));
  EXPECT_TRUE(ends("", 0, 200, "HEAD"));
  EXPECT_FALSE(ends("Content-Length: 5\r\n", 5, 200, "HEAD"));
  EXPECT_FALSE(ends("", 1, 204));
}

TEST(Response, ThatAnnouncesTheEndOrAnotherProtocolIsTheLast) {
  EXPECT_FALSE(ends("Content-Length: 5\r\nConnection: close\r\n", 5));
  EXPECT_FALSE(ends("Content-Length: 0\r\n", 0, 101));
}

}  // namespace
}  // namespace engine
