#include "plugin/request/request_framing.h"

#include <sys/uio.h>

#include <cstddef>
#include <cstring>
#include <string_view>

namespace engine {
namespace {

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

template <std::size_t size>
bool starts_with(std::string_view text, const char (&beginning)[size]) noexcept {
  return text.size() >= size - 1 && std::memcmp(text.data(), beginning, size - 1) == 0;
}

// Where the name is that of the variable, which may come once more: the first counts, as for uWSGI.
void take(HeaderValue& header, std::string_view variable, std::string_view name,
          std::string_view value) noexcept {
  if (!header.given && name == variable) header = {true, value};
}

}  // namespace

bool is_head(const wsgi_request& request) noexcept {
  return std::string_view(request.method, request.method_len) == "HEAD";
}

RequestFraming framing_of(const wsgi_request& request) noexcept {
  RequestFraming framing;
  framing.method = {request.method, request.method_len};
  framing.protocol = {request.protocol, request.protocol_len};
  framing.body_size = request.post_cl;
  for (int i = 0; i + 1 < request.var_cnt; i += 2) {
    const std::string_view name = view_of(request.hvec[i]);
    // The other variables are uWSGI's, or decoded.
    if (!starts_with(name, "HTTP_") && !starts_with(name, "CONTENT_")) continue;
    const std::string_view value = view_of(request.hvec[i + 1]);
    framing.is_unambiguous = framing.is_unambiguous && is_unambiguous(name, value);
    take(framing.connection, "HTTP_CONNECTION", name, value);
    take(framing.content_length, "CONTENT_LENGTH", name, value);
    take(framing.transfer_encoding, "HTTP_TRANSFER_ENCODING", name, value);
  }
  return framing;
}

// The request ends where uWSGI says it does, by everybody's reading. A body that is read as chunks may not be
// at its end: uWSGI sees that only of one with a length.
bool may_be_kept_alive(const wsgi_request& request, const RequestFraming& framing) noexcept {
  const bool read_as_chunks = request.chunked_input_buf != nullptr;
  return body_is_delimited(framing) && framing.is_unambiguous && !read_as_chunks && asks_to_keep(framing) &&
         request.post_pos >= request.post_cl && response_is_delimited(request);
}

}  // namespace engine
