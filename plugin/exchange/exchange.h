// The fiber of a request whose application runs on the loop.
#pragma once

#include <Python.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin/exchange/chunked_decoder.h"
#include "plugin/loop/deadline.h"
#include "plugin/loop/peer_watch.h"
#include "plugin/python/py_ref.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// What the application hears of its client. Called from the loop's own stack, with the GIL held.
class ExchangeListener {
 public:
  // Whether it still is somebody's: what is on its way to one that went is not delivered.
  virtual void keep() noexcept = 0;
  virtual void let_go() noexcept = 0;
  // All that was sent so far is with the kernel.
  virtual void on_sent() noexcept = 0;
  // What receive() asked for: some of the body, or, empty, its end.
  virtual void on_received(std::string_view bytes) noexcept = 0;
  // The body is none: its chunks cannot be told apart.
  virtual void on_malformed() noexcept = 0;
  // The client has gone, or stalls for longer than socket-timeout. Once.
  virtual void on_gone() noexcept = 0;

 protected:
  ~ExchangeListener() = default;
};

// uWSGI's functions for a request may wait, which is what the fiber is for: it reads the body, sends the
// head, and sends what the kernel does not take at once, while the application goes on. Bytes that the kernel
// takes at once are sent by the caller, without a switch.
//
// All but serve() is for the loop's own stack.
class Exchange {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // `listener` outlives it, and whatever was keep()t.
  Exchange(RequestThread& thread, ExchangeListener& listener) noexcept;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // On the fiber, until the exchange has ended and all was sent. False where the request is interrupted, or
  // the deadline passes, before that; it may be called again then.
  bool serve(loop::Deadline deadline);

  // --- The request ---------------------------------------------------------------------------

  const wsgi_request& request() const noexcept { return *request_; }
  // The connection speaks HTTP, and not one of the protocols of servers in front.
  bool speaks_http() const noexcept { return speaks_http_; }
  bool has_chunked_body() const noexcept { return chunked_; }
  // Of a body whose length is known, and is 0 where there is none.
  std::size_t body_size() const noexcept { return body_size_; }
  // Another request may follow on this connection.
  bool keeps_connection() const noexcept;

  // Has up to `size` bytes of the body received. One at a time.
  void receive(std::size_t size) noexcept;
  // Before any of the response: the client may send the body (RFC 9110, section 10.1.1).
  void send_continue(std::string_view text) noexcept;

  // --- The response --------------------------------------------------------------------------

  // `status` is "200 OK". Once.
  void start(std::string status, Headers headers) noexcept;
  bool started() const noexcept { return started_; }
  // True when all was sent; otherwise on_sent() says so.
  bool send(std::string_view bytes) noexcept;
  bool sent() const noexcept { return !has_output(); }
  // There is no more to send.
  void end() noexcept;
  // Ends it where it is: nothing more is sent, and the connection is closed.
  void abort() noexcept;
  bool gone() const noexcept { return gone_; }
  bool ended() const noexcept { return ended_; }
  // Its descriptor is about to be closed.
  void connection_lost() noexcept { lost(); }
  // The request is over, and no longer touched: what is called from here on does nothing.
  void leave() noexcept;
  bool over() const noexcept { return over_; }
  // A step of the application (RequestThread::application_steps()), while the request is not over.
  void step_begins() noexcept {
    if (!over_) RequestThread::application_steps(&thread_);
  }

  // --- Another protocol on the connection ------------------------------------------------------

  // From here on the caller alone reads and writes, until end(): the fiber only sends what was sent before.
  void detach() noexcept;
  // The number of bytes; 0: the connection was closed; -1: none now, or an error (errno).
  ssize_t read(char* buffer, std::size_t size) noexcept;
  ssize_t write(const char* bytes, std::size_t size) noexcept;

 private:
  enum class Wait { kPosted, kOver, kInterrupted };

  bool has_output() const noexcept { return head_waits_ || !output_.empty() || sending_; }
  bool may_send_here() const noexcept;
  Wait wait(loop::Deadline deadline);
  void wake() noexcept;
  void wake_later() noexcept;
  void send_output() noexcept;
  bool prepare_status() noexcept;
  bool prepare_head() noexcept;
  void read_body() noexcept;
  bool has_come(ssize_t got) noexcept;
  bool take_chunked() noexcept;
  bool take_plain() noexcept;
  ssize_t read_some(char* buffer, std::size_t size) noexcept;
  void lost() noexcept;
  void tell(void (*what)(Exchange&) noexcept) noexcept;
  void watch_later() noexcept;

  RequestThread& thread_;
  wsgi_request* const request_;
  ExchangeListener& listener_;
  suspend::Baton* baton_ = nullptr;  // The fiber waits.
  loop::PeerWatch client_;
  bool waking_ = false;  // It will be woken.
  int turns_ = 0;        // That it has lasted.

  const bool speaks_http_;
  const std::size_t body_size_;
  bool chunked_ = false;
  std::size_t wanted_ = 0;  // Of the body.
  loop::Deadline body_due_ = loop::Deadline::never();
  bool body_not_there_ = false;  // The last read found nothing.
  std::string received_;         // To be told.
  std::string raw_;              // Of a body in chunks, read and not decoded yet.
  std::size_t decoded_ = 0;      // Of that.
  ChunkedDecoder decoder_;

  std::string status_;
  Headers headers_;
  std::string output_;
  bool started_ = false;
  bool head_waits_ = false;
  bool sending_ = false;  // The fiber is at it.
  bool ended_ = false;
  bool aborted_ = false;
  bool detached_ = false;
  bool gone_ = false;
  bool over_ = false;
};

}  // namespace engine
