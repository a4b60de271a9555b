#include "plugin/request/websocket.h"

#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include "plugin/loop/clock.h"
#include "plugin/python/interruption.h"

extern "C" ssize_t uwsgi_proto_base_read_body(wsgi_request*, char*, size_t);

namespace engine {
namespace {

const char* what_is_wrong(int code) noexcept {
  switch (code) {
    case close_code::kTooBig: return "message too big (see --websockets-max-size)";
    case close_code::kNotText: return "text that is not UTF-8";
    default: return "not a frame of the protocol";
  }
}

}  // namespace

// --- FiberLock ----------------------------------------------------------------------------

// uWSGI keeps how far a frame is written in the request: a second writer would go on from there in its own.
void FiberLock::lock(RequestThread& thread) {
  if (!taken_) {
    taken_ = true;
    return;
  }
  if (!thread.may_suspend()) {
    throw std::runtime_error(
        "another fiber uses this websocket, and none may wait for it inside no_suspend()");
  }
  suspend::Baton baton(thread.fiber(), "websocket", suspend::Abort::kNever);
  waiting_.push_back(&baton);
  baton.wait();  // It is handed over: taken_ stays.
}

void FiberLock::unlock() noexcept {
  taken_ = !waiting_.empty();
  if (!taken_) return;
  waiting_.front()->post_next_turn();
  waiting_.pop_front();
}

// --- Receiving ----------------------------------------------------------------------------

WebSocket::WebSocket(loop::IoLoop& loop, wsgi_request* request, std::uint64_t max_size) noexcept
    : loop_(loop), request_(request), frames_(max_size), heard_at_(loop::monotonic_s()) {}

WebSocket::Received WebSocket::receive_next(RequestThread& thread, bool wait) {
  while (!closed_) {
    switch (frames_.next()) {
      case FrameReader::Got::kMessage: return Received::kMessage;
      case FrameReader::Got::kPing: {
        const std::string payload(frames_.payload());
        send(thread, Opcode::kPong, payload);
        break;
      }
      case FrameReader::Got::kPong: break;
      case FrameReader::Got::kClose: return closed_by_client(thread);
      case FrameReader::Got::kBroken:
        uwsgi_log("[uwsgi-websocket] \"%.*s %.*s\" (%.*s) closed with %d: %s\n", request_->method_len,
                  request_->method, request_->uri_len, request_->uri, request_->remote_addr_len,
                  request_->remote_addr, frames_.close_code(), what_is_wrong(frames_.close_code()));
        close(thread, frames_.close_code(), {});
        break;
      case FrameReader::Got::kNothing:
        bool would_wait = false;
        if (!fill(thread, wait, would_wait) && would_wait) return Received::kNothing;
    }
  }
  return Received::kClosed;
}

// The code goes back as it came (RFC 6455, section 5.5.1).
WebSocket::Received WebSocket::closed_by_client(RequestThread& thread) {
  const int code = frames_.close_code();
  const std::string reason(frames_.payload());
  close(thread, code, {});
  close_code_ = code;
  close_reason_ = reason;
  return Received::kClosed;
}

// Reads what there is, waiting for it if `wait`. False when nothing came: there was nothing
// (`would_wait`), or it is closed.
bool WebSocket::fill(RequestThread& thread, bool wait, bool& would_wait) {
  for (;;) {
    if (!drained_ || !wait) {
      const FrameReader::Room room = frames_.room();
      errno = 0;
      const ssize_t got = request_->socket->proto_read_body(request_, room.data, room.size);
      if (got > 0) {
        frames_.received(static_cast<std::size_t>(got));
        heard_at_ = loop::monotonic_s();
        pinged_ = false;
        // Asking once more would be answered by EAGAIN, if nobody else (TLS) holds bytes back.
        drained_ = wait && static_cast<std::size_t>(got) < room.size &&
                   request_->socket->proto_read_body == uwsgi_proto_base_read_body;
        return true;
      }
      if (got == 0 || !uwsgi_is_again()) {
        set_closed(close_code::kConnectionLost, {});
        return false;
      }
    }
    drained_ = false;
    frames_.rest();
    if (going_away_) close(thread, close_code::kGoingAway, {});
    if (closed_ || !look_after(thread)) return false;
    if (!wait) {
      would_wait = true;
      return false;
    }
    if (!wait_for_bytes(thread)) return false;
  }
}

// False when it is closed. Throws PyError where the thread is interrupted.
bool WebSocket::wait_for_bytes(RequestThread& thread) {
  if (!thread.may_suspend()) {
    if (uwsgi.wait_read_hook(request_->fd, uwsgi.websockets_ping_freq) < 0)
      set_closed(close_code::kConnectionLost, {});
    return !closed_;
  }
  suspend::Baton baton(thread.fiber(), "websocket", suspend::Abort::kAllowed, request_->fd);
  reader_ = &baton;
  if (!watchers_) watchers_ = std::make_unique<Watchers>(loop_.raw(), this);
  watchers_->readable.start(request_->fd, EV_READ);
  if (uwsgi.websockets_ping_freq > 0)
    watchers_->silent.start(heard_at_ + silence_allowed_s() - loop::monotonic_s());
  const suspend::Woken woken = baton.wait();
  stop_reading();
  if (woken == suspend::Woken::kInterrupted) python::raise_if_interrupted(thread);
  return !closed_;
}

suspend::Baton* WebSocket::stop_reading() noexcept {
  if (watchers_) {
    watchers_->readable.stop();
    watchers_->silent.stop();
  }
  return std::exchange(reader_, nullptr);
}

void WebSocket::wake() noexcept {
  if (suspend::Baton* const reader = stop_reading()) reader->post();
}

// --- Keeping alive ------------------------------------------------------------------------

double WebSocket::silent_in_s() const noexcept {
  if (uwsgi.websockets_ping_freq <= 0) return -1;
  return std::max(0.01, heard_at_ + silence_allowed_s() - loop::monotonic_s());
}

double WebSocket::silence_allowed_s() const noexcept {
  return uwsgi.websockets_ping_freq + (pinged_ ? uwsgi.websockets_pong_tolerance : 0);
}

// Pings a client that has been silent, and closes if it stays silent. Any byte it sends is a sign of life.
// Returns false if the websocket is closed.
bool WebSocket::look_after(RequestThread& thread) {
  if (uwsgi.websockets_ping_freq <= 0) return true;
  // libev's timers may be early by what its clock is coarse.
  constexpr double kClockS = 0.01;
  if (loop::monotonic_s() - heard_at_ < silence_allowed_s() - kClockS) return true;
  if (!pinged_) {
    pinged_ = true;
    return send(thread, Opcode::kPing, {});
  }
  uwsgi_log("[uwsgi-websocket] \"%.*s %.*s\" (%.*s) no PONG received in %d seconds !!!\n",
            request_->method_len, request_->method, request_->uri_len, request_->uri,
            request_->remote_addr_len, request_->remote_addr, uwsgi.websockets_pong_tolerance);
  set_closed(close_code::kConnectionLost, {});
  return false;
}

// --- Sending ------------------------------------------------------------------------------

bool WebSocket::send(RequestThread& thread, Opcode opcode, std::string_view payload) {
  const Use use(*this);
  const Locked locked(sending_, thread);
  if (closed_) return false;
  outgoing_.clear();
  append_frame(outgoing_, opcode, payload);
  return write(outgoing_);
}

bool WebSocket::write(std::string_view bytes) {
  if (uwsgi_response_write_body_do(request_, const_cast<char*>(bytes.data()), bytes.size()) == UWSGI_OK)
    return true;
  set_closed(close_code::kConnectionLost, {});
  return false;
}

void WebSocket::close(RequestThread& thread, int code, std::string_view reason) {
  const Use use(*this);
  const Locked locked(sending_, thread);
  if (closed_) return;
  if (!std::exchange(said_goodbye_, true)) {
    outgoing_.clear();
    append_close_frame(outgoing_, code, reason);
    if (!write(outgoing_)) return;
  }
  set_closed(code, reason);
}

// --- The end ------------------------------------------------------------------------------

void WebSocket::set_closed(int code, std::string_view reason) {
  if (std::exchange(closed_, true)) return;
  close_code_ = code;
  close_reason_ = reason;
  wake_next_turn();
}

void WebSocket::going_away() noexcept {
  going_away_ = true;
  wake_next_turn();
}

// Wakes the fiber that waits for a message, so that it sees a change made by another.
void WebSocket::wake_next_turn() noexcept {
  if (suspend::Baton* const reader = stop_reading()) reader->post_next_turn();
}

void WebSocket::left() noexcept {
  if (--users_ > 0) return;
  if (suspend::Baton* const ender = std::exchange(ender_, nullptr)) ender->post_next_turn();
}

void WebSocket::end(RequestThread& thread) noexcept {
  set_closed(close_code::kNormal, {});
  if (users_ == 0) return;
  // A fiber that waits for a slow client to read is not to wait any longer.
  shutdown(request_->fd, SHUT_RDWR);
  while (users_ > 0) {
    suspend::Baton baton(thread.fiber(), "websocket", suspend::Abort::kNever);
    ender_ = &baton;
    baton.wait();
  }
}

}  // namespace engine
