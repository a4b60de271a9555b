// Header lines of responses: whatever a server says, the head that is kept is one head's, and small.
#include <fuzzer/FuzzedDataProvider.h>

#include <strings.h>
#include <cstdlib>

#include "plugin/http/response_head.h"

namespace {

// Told another way: a head begins with a status line, after nothing or after an empty line, and goes on to
// the next. One that has two lengths that differ is two responses to somebody on the way.
class Lengths {
 public:
  bool may_take(std::string line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    const bool begins = at_border_ && line.compare(0, 5, "HTTP/") == 0;
    at_border_ = line.empty();
    if (begins) length_.clear();
    if (!http::is_header(line, "Content-Length")) return true;
    if (!length_.empty() && strcasecmp(line.c_str(), length_.c_str()) != 0) return false;
    length_ = line;
    return true;
  }

 private:
  bool at_border_ = true;
  std::string length_;
};

void check(const http::ResponseHead& head, std::int64_t max_size) {
  std::size_t size = 0;
  for (const std::string& line : head.lines()) size += line.size();
  if (max_size > 0 && size > static_cast<std::size_t>(max_size)) abort();
  if (head.status() < 0 || head.status() > 999) abort();
  if (head.is_final() && head.status() < 200) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider bytes(data, size);
  const auto max_size = bytes.ConsumeIntegralInRange<std::int64_t>(0, 4096);
  http::ResponseHead head({max_size, bytes.ConsumeBool(), bytes.ConsumeBool()});
  Lengths lengths;
  const std::string stream = bytes.ConsumeRemainingBytesAsString();
  for (std::size_t begin = 0; begin < stream.size();) {
    std::size_t end = stream.find('\n', begin);
    end = end == std::string::npos ? stream.size() : end + 1;
    const bool may_take = lengths.may_take(stream.substr(begin, end - begin));
    // libcurl's memory is not ended by a NUL.
    const std::vector<char> line(stream.begin() + static_cast<std::ptrdiff_t>(begin),
                                 stream.begin() + static_cast<std::ptrdiff_t>(end));
    if (!head.take_line({line.data(), line.size()})) {
      if (head.why().empty()) abort();
      return 0;
    }
    if (!may_take || !head.why().empty()) abort();
    check(head, max_size);
    begin = end;
  }
  return 0;
}
