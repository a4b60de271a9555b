// Whether a connection is kept: only where a body has one end, told another way.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>
#include <regex>
#include <string>

#include "plugin/request/keep_alive.h"

namespace {

// As a server that follows the grammar to the letter reads it.
bool is_length(const std::string& text, std::uint64_t size) {
  static const std::regex one("[ \t\r]*0*([0-9]+)[ \t\r]*");
  std::size_t begin = 0;
  for (;;) {
    const std::size_t comma = text.find(',', begin);
    const std::string element = text.substr(begin, comma - begin);
    std::smatch match;
    if (!std::regex_match(element, match, one)) return false;
    const std::string digits =
        match[1].str().find_first_not_of('0') == std::string::npos ? "0" : match[1].str();
    if (digits != std::to_string(size)) return false;
    if (comma == std::string::npos) return true;
    begin = comma + 1;
  }
}

// What uWSGI takes it for: as many digits as there are at its beginning.
std::uint64_t as_uwsgi_reads(const std::string& text) {
  std::uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') break;
    number = number * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return number;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  const std::string length = bytes.ConsumeRandomLengthString(64);
  const std::string connection = bytes.ConsumeRandomLengthString(64);
  const std::string name = bytes.ConsumeRandomLengthString(32);
  engine::RequestFraming request;
  request.method = "POST";
  request.protocol = "HTTP/1.1";
  request.connection = {true, connection};
  request.content_length = {true, length};
  request.body_size = as_uwsgi_reads(length);
  if (engine::body_is_delimited(request) != is_length(length, request.body_size)) abort();
  if (engine::asks_to_keep(request) == engine::says_close(connection)) abort();
  request.transfer_encoding = {true, length};
  if (engine::body_is_delimited(request)) abort();

  if (engine::is_unambiguous(name, length)) {
    static const std::regex token("[!#$%&'*+.^_`|~0-9A-Za-z-]+");
    if (!std::regex_match(name, token)) abort();
    if (length.find_first_of(std::string("\r\n\0", 3)) != std::string::npos) abort();
  }

  engine::ResponseFraming response;
  response.request_method = bytes.ConsumeBool() ? "HEAD" : "GET";
  response.status = bytes.ConsumeIntegralInRange(0, 999);
  response.body_size = bytes.ConsumeIntegralInRange<std::uint64_t>(0, 99);
  const std::string head = bytes.ConsumeRemainingBytesAsString();
  response.head = head;
  if (engine::response_is_delimited(response)) {
    if (response.status < 200) abort();
    if (response.request_method == "HEAD" && response.body_size != 0) abort();
    // One line more can end it.
    const std::string more = head + "\nConnection: close\r\n";
    response.head = more;
    if (engine::response_is_delimited(response)) abort();
  }
  return 0;
}
