#include "plugin/request/request_framing.h"

#include <sys/uio.h>

#include <cstdint>
#include <string_view>

namespace engine {
namespace {

HeaderValue header_of(wsgi_request& request, std::string_view name) noexcept {
  std::uint16_t length = 0;
  const char* const value = uwsgi_get_var(&request, const_cast<char*>(name.data()),
                                          static_cast<std::uint16_t>(name.size()), &length);
  return value == nullptr ? HeaderValue{} : HeaderValue{true, {value, length}};
}

bool response_is_delimited(const wsgi_request& request) noexcept {
  if (request.headers == nullptr) return false;
  ResponseFraming framing;
  framing.request_method = {request.method, request.method_len};
  framing.status = request.status;
  framing.head = {request.headers->buf, request.headers->pos};
  framing.body_size = request.response_size;
  return response_is_delimited(framing);
}

std::string_view view_of(const iovec& bytes) noexcept {
  return {static_cast<const char*>(bytes.iov_base), bytes.iov_len};
}

bool starts_with(std::string_view text, std::string_view beginning) noexcept {
  return text.substr(0, beginning.size()) == beginning;
}

// Of what the client sent: the other variables are uWSGI's, or decoded.
bool headers_are_unambiguous(const wsgi_request& request) noexcept {
  for (int i = 0; i + 1 < request.var_cnt; i += 2) {
    const std::string_view name = view_of(request.hvec[i]);
    if (!starts_with(name, "HTTP_") && !starts_with(name, "CONTENT_")) continue;
    if (!is_unambiguous(name, view_of(request.hvec[i + 1]))) return false;
  }
  return true;
}

}  // namespace

bool is_head(const wsgi_request& request) noexcept {
  return std::string_view(request.method, request.method_len) == "HEAD";
}

RequestFraming framing_of(wsgi_request& request) noexcept {
  RequestFraming framing;
  framing.method = {request.method, request.method_len};
  framing.protocol = {request.protocol, request.protocol_len};
  framing.connection = header_of(request, "HTTP_CONNECTION");
  framing.content_length = header_of(request, "CONTENT_LENGTH");
  framing.transfer_encoding = header_of(request, "HTTP_TRANSFER_ENCODING");
  framing.body_size = request.post_cl;
  return framing;
}

// The request ends where uWSGI says it does, by everybody's reading. A body that is read as chunks may not be
// at its end: uWSGI sees that only of one with a length.
bool may_be_kept_alive(wsgi_request& request) noexcept {
  const RequestFraming framing = framing_of(request);
  const bool read_as_chunks = request.chunked_input_buf != nullptr;
  return body_is_delimited(framing) && headers_are_unambiguous(request) && !read_as_chunks &&
         asks_to_keep(framing) && request.post_pos >= request.post_cl && response_is_delimited(request);
}

}  // namespace engine
