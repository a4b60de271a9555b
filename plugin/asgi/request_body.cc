#include "plugin/asgi/request_body.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "plugin/asgi/message.h"

extern "C" {
ssize_t uwsgi_proto_base_read_body(wsgi_request*, char*, size_t);
#ifdef UWSGI_SSL
ssize_t uwsgi_proto_ssl_read_body(wsgi_request*, char*, size_t);
#endif
}

namespace asgi {
namespace {

constexpr std::size_t kChunkMax = 64 << 10;

bool ends_in_chunked(std::string_view codings) noexcept {
  const auto comma = codings.rfind(',');
  std::string_view last = comma == std::string_view::npos ? codings : codings.substr(comma + 1);
  while (!last.empty() && (last.front() == ' ' || last.front() == '\t')) last.remove_prefix(1);
  return equal_ignoring_case(last, "chunked");
}

}  // namespace

RequestBody::RequestBody(wsgi_request& request, const Asked& asked) : request_(request) {
  if (ends_in_chunked(asked.transfer_encoding)) chunks_ = std::make_unique<engine::ChunkedDecoder>();
  expects_continue_ = equal_ignoring_case(asked.expect, "100-continue") && !ended();
}

bool RequestBody::ended() const noexcept {
  return chunks_ ? chunks_->ended() : request_.post_pos >= request_.post_cl;
}

bool RequestBody::waits() const noexcept {
  const auto read = request_.socket->proto_read_body;
#ifdef UWSGI_SSL
  if (read == uwsgi_proto_ssl_read_body) return false;
#endif
  return read != uwsgi_proto_base_read_body;
}

RequestBody::Got RequestBody::read() {
  if (ended()) return Got::kChunk;
  if (!chunks_ && (request_.post_file != nullptr || uwsgi.post_buffering > 0)) return read_buffered();
  return read_some();
}

// uWSGI has read it already (--post-buffering).
RequestBody::Got RequestBody::read_buffered() {
  ssize_t size = 0;
  const auto some = static_cast<ssize_t>(std::min(request_.post_cl - request_.post_pos, kChunkMax));
  const char* const data = uwsgi_request_body_read(&request_, some, &size);
  if (data == nullptr || size <= 0) return Got::kBroken;
  chunk_.assign(data, static_cast<std::size_t>(size));
  return Got::kChunk;
}

RequestBody::Got RequestBody::read_some() {
  static std::vector<char> shared(kChunkMax);
  std::vector<char> own(waits() ? kChunkMax : 0);  // Others may read meanwhile.
  std::vector<char>& buffer = own.empty() ? shared : own;
  const std::size_t wanted = chunks_ ? kChunkMax : std::min(request_.post_cl - request_.post_pos, kChunkMax);
  for (;;) {
    errno = 0;
    const ssize_t size = request_.socket->proto_read_body(&request_, buffer.data(), wanted);
    if (size < 0 && uwsgi_is_again()) return Got::kNothing;
    if (size <= 0) return Got::kBroken;
    expects_continue_ = false;
    const std::string_view received(buffer.data(), static_cast<std::size_t>(size));
    if (!chunks_) {
      request_.post_pos += received.size();
      chunk_.assign(received);
      return Got::kChunk;
    }
    if (!decode(received)) return Got::kBroken;
    if (!chunk_.empty() || chunks_->ended()) return Got::kChunk;
  }
}

// False where the chunks cannot be told apart.
bool RequestBody::decode(std::string_view received) {
  while (!received.empty() && !chunks_->ended() && !chunks_->broken()) {
    chunk_.append(chunks_->next(received, received.size()));
  }
  return !chunks_->broken();
}

python::PyRef RequestBody::taken() {
  const python::PyRef made = bytes(chunk_);
  chunk_.clear();
  return made;
}

}  // namespace asgi
