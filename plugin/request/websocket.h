// The websocket that a request has become: received from and sent to by any fiber of the worker.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "plugin/loop/watcher.h"
#include "plugin/request/request_thread.h"
#include "plugin/request/websocket_frames.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Held by one fiber at a time; others wait their turn.
class FiberLock {
 public:
  // Throws std::runtime_error if it is taken and `thread` may not wait.
  void lock(RequestThread& thread);
  void unlock() noexcept;
  bool taken() const noexcept { return taken_; }

 private:
  bool taken_ = false;
  std::list<suspend::Baton*> waiting_;  // Empty, it takes no memory.
};

// uWSGI's own functions keep one buffer for the fragments of all connections, and another fiber may interrupt
// one that is in the middle of a frame. Here each websocket has its reader and its locks. It belongs to a
// request, and must not be used after that. The loop's thread only.
class WebSocket {
 public:
  // Messages may have at most `max_size` bytes.
  WebSocket(loop::IoLoop& loop, wsgi_request* request, std::uint64_t max_size) noexcept;
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;

  enum class Received { kMessage, kNothing, kClosed };

  // Waits for a message, if `wait`. Answers control frames meanwhile, and keeps the connection alive by
  // pings. Passes the message to `take(text, payload)` before any other fiber runs.
  template <typename Take>
  Received receive(RequestThread& thread, bool wait, Take take) {
    if (!wait && receiving_.taken()) return Received::kNothing;  // Another fiber waits for it.
    const Use use(*this);
    const Locked locked(receiving_, thread);
    const Received got = receive_next(thread, wait);
    if (got == Received::kMessage) take(frames_.is_text(), frames_.payload());
    return got;
  }

  // False if the websocket is closed. Throws, as receive() and close() do, std::runtime_error if another
  // fiber uses it and `thread` may not wait.
  bool send(RequestThread& thread, Opcode opcode, std::string_view payload);

  // Sends a close frame, unless one was sent, and closes.
  void close(RequestThread& thread, int code, std::string_view reason);

  // The request continues without its connection. Ends the waits for a message.
  void connection_lost() { set_closed(close_code::kConnectionLost, {}); }

  // The worker ends. A fiber that waits for a message sends the close frame, and its wait ends.
  void going_away() noexcept;

  // The request ends. Waits, on its own thread, until no fiber uses the websocket and none will.
  void end(RequestThread& thread) noexcept;

  // The seconds until receive() must act on a silent client; negative: never.
  double silent_in_s() const noexcept;

  bool closed() const noexcept { return closed_; }
  // Why, once it is closed.
  int close_code() const noexcept { return close_code_; }
  const std::string& close_reason() const noexcept { return close_reason_; }

 private:
  // A fiber is inside, so the request must not end.
  class Use {
   public:
    explicit Use(WebSocket& socket) noexcept : socket_(socket) { ++socket.users_; }
    ~Use() { socket_.left(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    WebSocket& socket_;
  };

  class Locked {
   public:
    Locked(FiberLock& lock, RequestThread& thread) : lock_(lock) { lock.lock(thread); }
    ~Locked() { lock_.unlock(); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

   private:
    FiberLock& lock_;
  };

  // What ends a wait for bytes.
  struct Watchers {
    Watchers(struct ev_loop* loop, WebSocket* socket) noexcept
        : socket(socket), readable(loop, this), silent(loop, this) {}
    void on_readable(int) noexcept { socket->wake(); }
    void on_silent() noexcept { socket->wake(); }

    WebSocket* const socket;
    loop::IoWatcher<Watchers, &Watchers::on_readable> readable;
    loop::TimerWatcher<Watchers, &Watchers::on_silent> silent;
  };

  Received receive_next(RequestThread& thread, bool wait);
  Received closed_by_client(RequestThread& thread);
  bool fill(RequestThread& thread, bool wait, bool& would_wait);
  bool wait_for_bytes(RequestThread& thread);
  bool look_after(RequestThread& thread);
  double silence_allowed_s() const noexcept;
  bool write(std::string_view bytes);
  void set_closed(int code, std::string_view reason);
  void left() noexcept;
  suspend::Baton* stop_reading() noexcept;
  void wake() noexcept;
  void wake_next_turn() noexcept;

  loop::IoLoop& loop_;
  wsgi_request* const request_;
  FrameReader frames_;
  FiberLock receiving_;
  FiberLock sending_;
  std::string outgoing_;  // The frame that is being sent.

  suspend::Baton* reader_ = nullptr;    // Of the fiber that waits for bytes.
  suspend::Baton* ender_ = nullptr;     // Of the fiber that waits for the users to leave.
  std::unique_ptr<Watchers> watchers_;  // Made by the first wait: ASGI's connections wait by themselves.
  int users_ = 0;

  double heard_at_;       // The last sign of life, on the loop's clock.
  bool pinged_ = false;   // Since then.
  bool drained_ = false;  // The last read emptied the socket.
  bool going_away_ = false;
  bool said_goodbye_ = false;
  bool closed_ = false;
  int close_code_ = 0;
  std::string close_reason_;
};

}  // namespace engine
