// Whether a connection may serve another request: RFC 9112, sections 6, 7 and 9.3. It works on views only,
// independent of uWSGI and connections.
#pragma once

#include <cstdint>
#include <string_view>

namespace engine {

// A header line, or several of one name, which uWSGI joins by ", ".
struct HeaderValue {
  bool given = false;
  std::string_view text;
};

// A request as uWSGI's parser understood it.
struct RequestFraming {
  std::string_view method;
  std::string_view protocol;
  HeaderValue connection;
  HeaderValue content_length;
  HeaderValue transfer_encoding;
  std::uint64_t body_size = 0;  // The length of the body according to uWSGI.
  bool is_unambiguous = true;   // Each of its header lines is.
};

struct ResponseFraming {
  std::string_view request_method;
  int status = 0;
  std::string_view head;        // Its lines, the status line first or left out.
  std::uint64_t body_size = 0;  // What was sent.
};

// A Connection header is a list: "keep-alive, close".
bool says_close(std::string_view connection) noexcept;

// Every server on the way reads this header line alike: its name is a token, and its value contains no end of
// line. `name` may be as in CGI, in capitals and with underscores.
bool is_unambiguous(std::string_view name, std::string_view value) noexcept;

// Every server on the way agrees where the request body ends, and uWSGI is right about it.
bool body_is_delimited(const RequestFraming& request) noexcept;

// The client expects to send another request after this response.
bool asks_to_keep(const RequestFraming& request) noexcept;

// The client can tell where the response ends without the close of the connection: the application sent as
// much as it promised, and did not announce the close itself.
bool response_is_delimited(const ResponseFraming& response) noexcept;

}  // namespace engine
