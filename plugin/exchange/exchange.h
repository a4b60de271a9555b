// Reads and writes one request for an application that runs on the loop, such as Tornado's.
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

// Receives the events of an Exchange. Called on the loop's own stack, with the GIL held.
class ExchangeListener {
 public:
  // Add and drop a reference, so that the listener lives until a pending event is delivered.
  virtual void keep() noexcept = 0;
  virtual void let_go() noexcept = 0;
  // The kernel has taken everything sent so far.
  virtual void on_sent() noexcept = 0;
  // The bytes that receive() asked for; empty at the end of the body.
  virtual void on_received(std::string_view bytes) noexcept = 0;
  // The chunked encoding of the body is invalid.
  virtual void on_malformed() noexcept = 0;
  // The client has disconnected, or has stalled for longer than socket-timeout. Called once.
  virtual void on_gone() noexcept = 0;

 protected:
  ~ExchangeListener() = default;
};

// uWSGI's functions for a request may wait, so the fiber of the request calls them: it reads the body, sends
// the head, and sends whatever the kernel does not take at once, while the application continues. Bytes that
// the kernel takes at once are sent by the caller, without a switch.
//
// Every member except serve() is called on the loop's own stack.
class Exchange {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // `listener` must outlive this and each keep().
  Exchange(RequestThread& thread, ExchangeListener& listener) noexcept;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Runs on the fiber until the exchange has ended and everything is sent. Returns false if the request is
  // interrupted or the deadline passes first; it may be called again then.
  bool serve(loop::Deadline deadline);

  // --- The request ---------------------------------------------------------------------------

  const wsgi_request& request() const noexcept { return *request_; }
  // Whether the connection speaks HTTP, not a protocol of a server in front (uwsgi, FastCGI, SCGI).
  bool speaks_http() const noexcept { return speaks_http_; }
  bool has_chunked_body() const noexcept { return chunked_; }
  // The Content-Length, 0 if there is none.
  std::size_t body_size() const noexcept { return body_size_; }
  // Whether another request may follow on this connection.
  bool keeps_connection() const noexcept;

  // Asks for up to `size` bytes of the body, which on_received() delivers. One call at a time.
  void receive(std::size_t size) noexcept;
  // Sends an interim response, which allows the client to send its body (RFC 9110, section 10.1.1).
  // REQUIRES: start() has not been called.
  void send_continue(std::string_view text) noexcept;

  // --- The response --------------------------------------------------------------------------

  // Begins the response. `status` is like "200 OK". Call it once.
  void start(std::string status, Headers headers) noexcept;
  bool started() const noexcept { return started_; }
  // Returns true if everything is sent; otherwise on_sent() follows.
  bool send(std::string_view bytes) noexcept;
  bool sent() const noexcept { return !has_output(); }
  // Ends the response.
  void end() noexcept;
  // Ends it incomplete: nothing more is sent, and the connection is closed.
  void abort() noexcept;
  bool gone() const noexcept { return gone_; }
  bool ended() const noexcept { return ended_; }
  // The descriptor is about to be closed.
  void connection_lost() noexcept { lost(); }
  // The request is over and is not touched any more: later calls do nothing.
  void leave() noexcept;
  bool over() const noexcept { return over_; }
  // Attributes the next step of the application to the request, unless that is over
  // (RequestThread::application_steps()).
  void step_begins() noexcept {
    if (!over_) RequestThread::application_steps(&thread_);
  }

  // --- Another protocol on the connection ------------------------------------------------------

  // From here to end() only the caller reads and writes. The fiber still sends earlier output.
  void detach() noexcept;
  // Both return the number of bytes; 0 if the connection is closed; -1 for an error (errno), such as EAGAIN.
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
  suspend::Baton* baton_ = nullptr;  // Set while the fiber waits.
  loop::PeerWatch client_;
  bool waking_ = false;  // The fiber is about to be woken.
  int turns_ = 0;        // How many turns of the loop it has lasted.

  const bool speaks_http_;
  const std::size_t body_size_;
  bool chunked_ = false;
  std::size_t wanted_ = 0;  // How much of the body receive() asked for.
  loop::Deadline body_due_ = loop::Deadline::never();
  bool body_not_there_ = false;  // The last read found nothing.
  std::string received_;         // To be delivered by on_received().
  std::string raw_;              // Bytes of a chunked body, as read.
  std::size_t decoded_ = 0;      // How many of those are decoded.
  ChunkedDecoder decoder_;

  std::string status_;
  Headers headers_;
  std::string output_;
  bool started_ = false;
  bool head_waits_ = false;
  bool sending_ = false;  // The fiber is sending.
  bool ended_ = false;
  bool aborted_ = false;
  bool detached_ = false;
  bool gone_ = false;
  bool over_ = false;
};

}  // namespace engine
