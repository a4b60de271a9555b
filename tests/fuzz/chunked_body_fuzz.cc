// A request body in chunks: the same data and the same end however it comes, and those that a reader of the
// whole sees.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdlib>
#include <regex>
#include <string>
#include <string_view>

#include "plugin/exchange/chunked_decoder.h"

namespace {

struct Body {
  std::string data;
  bool ended = false;
  bool broken = false;
  std::size_t left = 0;
};

// A line without its end, taken from the beginning of `text`. False: the end has not come, or it is no CR LF.
bool take_line(std::string_view& text, std::string& line) {
  const std::size_t end = text.find("\r\n");
  if (end == std::string_view::npos) return false;
  line = text.substr(0, end);
  text.remove_prefix(end + 2);
  return true;
}

// As a server that follows the grammar to the letter reads it. Of a body that has no end it does not say why.
Body read_whole(std::string_view text) {
  static const std::regex size_line("([0-9A-Fa-f]{1,15})(;[^\r\n]*)?");
  Body body;
  std::string line;
  for (;;) {
    std::smatch match;
    if (!take_line(text, line) || !std::regex_match(line, match, size_line)) return body;
    const auto size = std::strtoull(match[1].str().c_str(), nullptr, 16);
    if (size == 0) break;
    if (text.size() < size || text.substr(size, 2) != "\r\n") return body;
    body.data += text.substr(0, size);
    text.remove_prefix(size + 2);
  }
  while (take_line(text, line)) {
    if (line.find_first_of("\r\n") != std::string::npos) return body;
    if (!line.empty()) continue;
    body.ended = true;
    body.left = text.size();
    return body;
  }
  return body;
}

Body decode(std::string_view text, FuzzedDataProvider& bytes) {
  engine::ChunkedDecoder decoder;
  Body body;
  while (!text.empty() && !decoder.ended() && !decoder.broken()) {
    std::string_view part = text.substr(0, bytes.ConsumeIntegralInRange<std::size_t>(1, 40));
    const std::size_t given = part.size();
    const std::size_t most = bytes.ConsumeIntegralInRange<std::size_t>(1, 40);
    const std::string_view data = decoder.next(part, most);
    if (data.size() > most || (data.empty() && !part.empty() && !decoder.ended() && !decoder.broken()))
      abort();
    body.data += data;
    text.remove_prefix(given - part.size());
  }
  body.ended = decoder.ended();
  body.broken = decoder.broken();
  body.left = text.size();
  return body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  const std::string text = bytes.ConsumeRandomLengthString(4096);
  const Body body = decode(text, bytes);
  const Body expected = read_whole(text);
  if (body.ended && body.broken) abort();
  if (body.ended != expected.ended) abort();
  if (body.ended && (body.data != expected.data || body.left != expected.left)) abort();
  // What was given before a body broke, or stopped, is what a reader of the whole got that far, or the part
  // of a chunk.
  if (body.data.compare(0, expected.data.size(), expected.data) != 0) abort();
  FuzzedDataProvider none(nullptr, 0);  // Byte by byte.
  const Body again = decode(text, none);
  if (again.data != body.data || again.ended != body.ended || again.broken != body.broken) abort();
  return 0;
}
