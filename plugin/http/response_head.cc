#include "plugin/http/response_head.h"

#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace http {
namespace {

constexpr std::string_view kProtocol = "HTTP/";

// Three digits, or 0.
int status_in(std::string_view text) noexcept {
  int status = 0;
  std::size_t i = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    if (i == 3) return 0;
    status = 10 * status + (text[i] - '0');
  }
  return status;
}

}  // namespace

bool is_header(const std::string& line, const char* name, std::string_view ends) noexcept {
  const std::size_t length = std::strlen(name);
  return line.size() > length && ends.find(line[length]) != std::string_view::npos &&
         strncasecmp(line.data(), name, length) == 0;
}

// "HTTP/1.1 200 OK": each head begins anew.
void ResponseHead::take_status_line(const std::string& line) {
  whole_ = false;
  lines_.clear();
  content_length_.clear();
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string::npos ? first : line.find(' ', first + 1);
  http_version_ =
      line.substr(kProtocol.size(), first == std::string::npos ? first : first - kProtocol.size());
  status_ = first == std::string::npos ? 0 : status_in(std::string_view(line).substr(first + 1));
  reason_ = second == std::string::npos ? "" : line.substr(second + 1);
}

bool ResponseHead::is_last_response() const noexcept {
  if (status_ < 200) return false;
  if (status_ == 401) return !rules_.answers_challenges;
  if (status_ == 407) return false;
  if (status_ < 300 || status_ >= 400 || !rules_.follows_redirects) return true;
  return std::none_of(lines_.begin(), lines_.end(),
                      [](const std::string& line) { return is_header(line, "Location"); });
}

// libcurl believes the last one. A server on the way may believe the first: the bytes in between would then
// be the answer to somebody else's request (RFC 9112, 6.3).
bool ResponseHead::take_content_length(const std::string& line) {
  if (!content_length_.empty() && strcasecmp(line.c_str(), content_length_.c_str()) != 0) {
    why_ = "the response has two lengths: \"" + content_length_ + "\" and \"" + line + "\"";
    return false;
  }
  content_length_ = line;
  return true;
}

bool ResponseHead::take_line(std::string_view raw) {
  size_ += static_cast<std::int64_t>(raw.size());
  if (rules_.max_size > 0 && size_ > rules_.max_size) {
    why_ = "the response's headers are longer than " + std::to_string(rules_.max_size) + " bytes";
    return false;
  }
  while (!raw.empty() && (raw.back() == '\n' || raw.back() == '\r')) raw.remove_suffix(1);
  std::string line(raw);
  // In a head and in the last response's trailers it is a line as any: a head that began again there would
  // hide what came before, a length of its own say.
  const bool begins = !std::exchange(in_head_, !line.empty()) && !is_last_response();
  if (begins && raw.substr(0, kProtocol.size()) == kProtocol) {
    take_status_line(line);
  } else if (line.empty()) {
    whole_ = true;
    return true;
  } else if ((line[0] == ' ' || line[0] == '\t') && !lines_.empty()) {
    // A folded line: one space stands for the fold (RFC 9112, 5.2).
    const std::size_t text = line.find_first_not_of(" \t");
    if (text != std::string::npos) lines_.back() += " " + line.substr(text);
  } else {
    if (is_header(line, "Content-Length") && !take_content_length(line)) return false;
    lines_.push_back(std::move(line));
  }
  return true;
}

}  // namespace http
