#include "plugin/request/coalesced_chunks.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

extern "C" int uwsgi_proto_base_write(wsgi_request*, char*, size_t);

namespace engine {
namespace {

constexpr std::size_t kMost = 64 << 10;

}  // namespace

CoalescedChunks::CoalescedChunks(loop::IoLoop& loop, wsgi_request& request) noexcept
    : loop_(loop), request_(request), writable_(loop.raw(), this) {}

bool CoalescedChunks::possible() const noexcept {
  return request_.headers_sent && request_.socket->proto_write == uwsgi_proto_base_write &&
         request_.transformations == nullptr && !request_.ignore_body && request_.write_errors == 0 &&
         request_.fd >= 0;
}

// The callback runs in the next turn, which begins at once when this request stands still.
void CoalescedChunks::add(std::string_view chunk) {
  if (kept_.size() + chunk.size() > kMost) flush();
  if (chunk.size() >= kMost) {
    uwsgi_response_write_body_do(&request_, const_cast<char*>(chunk.data()), chunk.size());
    return;
  }
  kept_.append(chunk);
  if (due_ || writable_.active() || kept_.empty()) return;
  due_ = true;
  loop_.add_callback({[](void* self) noexcept {
                        auto& chunks = *static_cast<CoalescedChunks*>(self);
                        chunks.due_ = false;
                        chunks.send_some();
                      },
                      this});
}

void CoalescedChunks::flush() noexcept {
  writable_.stop();
  if (kept_.empty()) return;
  std::string bytes = std::exchange(kept_, {});
  uwsgi_response_write_body_do(&request_, bytes.data(), bytes.size());
  bytes.clear();
  kept_ = std::move(bytes);  // Its memory.
}

void CoalescedChunks::drop() noexcept {
  writable_.stop();
  kept_.clear();
}

// From the loop's own stack: sends what the kernel takes now, and the rest once it takes more.
void CoalescedChunks::send_some() noexcept {
  if (kept_.empty()) return;
  const ssize_t sent = send(request_.fd, kept_.data(), kept_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    ++request_.write_errors;
    return drop();
  }
  if (sent > 0) {
    request_.response_size += static_cast<std::size_t>(sent);
    kept_.erase(0, static_cast<std::size_t>(sent));
  }
  if (kept_.empty()) writable_.stop();
  else if (!writable_.active()) writable_.start(request_.fd, EV_WRITE);
}

}  // namespace engine
