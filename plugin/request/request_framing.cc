#include "plugin/request/request_framing.h"

namespace engine {
namespace {

HeaderValue header_of(wsgi_request& request, std::string_view name) noexcept {
  std::uint16_t length = 0;
  const char* const value = uwsgi_get_var(&request, const_cast<char*>(name.data()),
                                          static_cast<std::uint16_t>(name.size()), &length);
  return value == nullptr ? HeaderValue{} : HeaderValue{true, {value, length}};
}

}  // namespace

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

}  // namespace engine
