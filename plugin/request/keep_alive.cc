#include "plugin/request/keep_alive.h"

#include <algorithm>

namespace engine {
namespace {

constexpr std::string_view kBlank = " \t\r";

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view text, std::string_view lower_case) noexcept {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return lower(a) == b; });
}

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Cuts the first of a list off, whatever whitespace is round it.
std::string_view take_element(std::string_view& list) noexcept {
  const std::string_view element = list.substr(0, list.find(','));
  list.remove_prefix(std::min(element.size() + 1, list.size()));
  return trimmed(element);
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// A table, because each header line of each request is looked at.
struct TokenCharacters {
  bool contains[256] = {};

  constexpr TokenCharacters() noexcept {
    for (char c = '0'; c <= '9'; ++c) contains[static_cast<unsigned char>(c)] = true;
    for (char c = 'a'; c <= 'z'; ++c) contains[static_cast<unsigned char>(c)] = true;
    for (char c = 'A'; c <= 'Z'; ++c) contains[static_cast<unsigned char>(c)] = true;
    for (const char c : std::string_view("!#$%&'*+-.^_`|~")) contains[static_cast<unsigned char>(c)] = true;
  }
};
constexpr TokenCharacters kTokenCharacters;

bool is_token(std::string_view text) noexcept {
  for (const char c : text) {
    if (!kTokenCharacters.contains[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

// Digits and nothing else that say `number`: no sign, no list, nothing too great for 64 bits.
bool spells(std::string_view text, std::uint64_t number) noexcept {
  std::uint64_t read = 0;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (!is_digit(c) || read > (UINT64_MAX - digit) / 10) return false;
    read = read * 10 + digit;
  }
  return !text.empty() && read == number;
}

// Calls visit(name, value) for each header line.
template <typename Visit>
void each_line(std::string_view head, Visit visit) noexcept {
  while (!head.empty()) {
    const std::string_view line = head.substr(0, head.find('\n'));
    head.remove_prefix(std::min(line.size() + 1, head.size()));
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) visit(line.substr(0, colon), line.substr(colon + 1));
  }
}

}  // namespace

bool says_close(std::string_view connection) noexcept {
  while (!connection.empty()) {
    if (equal_ignoring_case(take_element(connection), "close")) return true;
  }
  return false;
}

bool is_unambiguous(std::string_view name, std::string_view value) noexcept {
  return is_token(name) && value.find('\n') == std::string_view::npos &&
         value.find('\r') == std::string_view::npos && value.find('\0') == std::string_view::npos;
}

// uWSGI knows no Transfer-Encoding: to it such a body has no length, or that of a Content-Length that does
// not count. Its uwsgi.chunked_read() takes sizes that are none, and does not look at what follows a chunk;
// so that it came to an end does not say that the client's body has.
bool body_is_delimited(const RequestFraming& request) noexcept {
  if (request.transfer_encoding.given) return false;
  if (!request.content_length.given) return request.body_size == 0;
  // One that was sent twice says the same twice, or two things.
  std::string_view list = request.content_length.text;
  do {
    if (!spells(take_element(list), request.body_size)) return false;
  } while (!list.empty());
  return request.content_length.text.back() != ',';
}

bool asks_to_keep(const RequestFraming& request) noexcept {
  return request.protocol == "HTTP/1.1" && is_token(request.method) && request.method != "CONNECT" &&
         !(request.connection.given && says_close(request.connection.text));
}

bool response_is_delimited(const ResponseFraming& response) noexcept {
  bool closes = false;
  bool has_length = false;
  bool length_is_right = true;
  bool coded = false;
  bool chunked = false;  // The last of the codings.
  each_line(response.head, [&](std::string_view name, std::string_view value) {
    if (equal_ignoring_case(name, "connection")) {
      closes = closes || says_close(value);
    } else if (equal_ignoring_case(name, "transfer-encoding")) {
      coded = true;
      while (!value.empty()) chunked = equal_ignoring_case(take_element(value), "chunked");
    } else if (equal_ignoring_case(name, "content-length")) {
      has_length = true;
      length_is_right = length_is_right && spells(trimmed(value), response.body_size);
    }
  });
  // After 101 the connection speaks another protocol.
  if (closes || response.status < 200) return false;
  if (response.request_method == "HEAD" || response.status == 204 || response.status == 304) {
    return response.body_size == 0;
  }
  return coded ? chunked && !has_length : has_length && length_is_right;
}

}  // namespace engine
