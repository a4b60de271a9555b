// The head of a response, line by line as libcurl hands them over. Knows texts only: no libcurl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace http {

// The characters that end a field's name. In requests libcurl writes an empty field as "Name;".
constexpr std::string_view kEndsOfName = ":", kEndsOfRequestName = ":;";

// Whether `line` is that field ("Name: value"), in whatever case.
bool is_header(const std::string& line, const char* name, std::string_view ends = kEndsOfName) noexcept;

class ResponseHead {
 public:
  // Tell the last response from earlier ones, after which libcurl sends another request.
  struct Rules {
    std::int64_t max_size = 0;  // Of all lines, those of redirects and challenges too; 0 is no limit.
    bool follows_redirects = false;
    bool answers_challenges = false;
  };
  explicit ResponseHead(Rules rules) noexcept : rules_(rules) {}

  // `line` includes its end. Returns false, with why(), if the response must not be trusted.
  bool take_line(std::string_view line);
  const std::string& why() const noexcept { return why_; }

  // True if the last line ended a head, and that of the last response. In doubt it is false; then the first
  // byte of the body, or the end, decides.
  bool is_final() const noexcept { return !in_head_ && is_last_response(); }

  // The empty line after the last head has come. libcurl takes a head that was cut short for complete.
  bool is_whole() const noexcept { return whole_; }

  // 0 before any came.
  int status() const noexcept { return status_; }
  // "1.1", "2"; empty before any head came.
  const std::string& http_version() const noexcept { return http_version_; }
  const std::string& reason() const noexcept { return reason_; }
  // Lines of the last head without their ends and without the status line; trailers too.
  const std::vector<std::string>& lines() const noexcept { return lines_; }

 private:
  void take_status_line(const std::string& line);
  bool take_content_length(const std::string& line);
  bool is_last_response() const noexcept;

  const Rules rules_;
  std::int64_t size_ = 0;
  bool in_head_ = false;
  bool whole_ = true;
  int status_ = 0;
  std::string http_version_;
  std::string reason_;
  std::vector<std::string> lines_;
  std::string content_length_;  // The line, of the last head.
  std::string why_;
};

}  // namespace http
