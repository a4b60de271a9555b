// One async core of the worker and the requests it serves, one after another.
#pragma once

#include <list>
#include <memory>
#include <optional>

#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"
#include "plugin/request/coalesced_chunks.h"
#include "plugin/request/harakiri.h"
#include "plugin/request/keep_alive.h"
#include "plugin/request/request_thread.h"
#include "plugin/request/websocket.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

class Engine;

// Owns what belongs to the core: its fiber and thread state, made at its first request and
// kept, its watchers, and the connection while there is one. The loop's thread only.
//
// A core is free, parses the header of a request, runs the request on its fiber, and is free again; or it
// keeps the connection, and parses the next. A request that waits is still running: only its fiber is
// suspended.
class Core {
 public:
  Core(Engine& engine, wsgi_request* request) noexcept;
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Accepts a connection from `socket` and starts on it. Returns false if there was none. REQUIRES:
  // free.
  bool accept(uwsgi_socket* socket) noexcept;

  // Closes a connection that has not sent a complete request. Its core is free at once, except during a TLS
  // handshake. REQUIRES: incomplete_since() > 0.
  void close_incomplete_request() noexcept;
  // When it, or the first part of its request, arrived, on the loop's clock; 0 if complete or none.
  double incomplete_since() const noexcept { return incomplete_since_; }

  // Closes a connection that is kept alive and idle. REQUIRES: idle_connection().
  void close_idle_connection() noexcept;
  // Returns false if the client's next request is already arriving. REQUIRES: idle_connection().
  bool quiet() const noexcept;
  bool idle_connection() const noexcept { return phase_ == Phase::kKeptAlive; }

  wsgi_request* request() const noexcept { return request_; }
  // There was no memory for its stack the last time it needed one.
  bool lacks_stack() const noexcept { return lacks_stack_; }
  // Null until its first request runs.
  RequestThread* thread() const noexcept { return thread_.get(); }

  bool runs() const noexcept { return phase_ == Phase::kRunning; }
  // 0: none.
  time_t harakiri() const noexcept { return harakiri_.deadline(); }

  // The python plugin starts and ends its part of this core's request.
  void python_begins(PyObject* environ) noexcept;
  void python_ends() noexcept;
  bool python_yielded() noexcept;
  bool python_failed() noexcept;
  CoalescedChunks& coalesced() noexcept { return coalesced_; }

  // The websocket that the request is or may become; made when first asked for.
  // REQUIRES: the request runs. Throws std::bad_alloc.
  const std::shared_ptr<WebSocket>& websocket();
  // The worker ends: a websocket is closed, a client that would keep its connection is told.
  void going_away() noexcept;
  // Ends the connection under a response that has begun.
  void cut_off() noexcept;

  // Called before and after the socket's protocol ends with the connection: at the end of the request, or in
  // uwsgi.disconnect(), after which the request continues without a connection.
  void connection_ends() noexcept;
  void connection_ended() noexcept;

 private:
  enum class Phase { kFree, kParsing, kRunning, kKeptAlive };

  void begin() noexcept;
  void parse() noexcept;
  void await_bytes() noexcept;
  void join(std::list<Core*>& connections) noexcept;
  void leave(std::list<Core*>& connections) noexcept;
  void note_incomplete() noexcept;
  void end_incomplete() noexcept;
  void abandon() noexcept;
  void run() noexcept;
  void name_thread() noexcept;
  void serve() noexcept;
  void enter_context() noexcept;
  bool begin_loading() noexcept;
  void end_loading() noexcept;
  bool parse_in_fiber() noexcept;
  bool should_give_way() noexcept;
  void give_way() noexcept;
  void answer_failure() noexcept;
  void end_websocket() noexcept;
  void leave_body_out() noexcept;
  void chunk_left_out() noexcept;
  void close_kept() noexcept;
  void announce_close() noexcept;
  void finished() noexcept;
  void keep_alive() noexcept;
  void release() noexcept;
  void on_readable(int) noexcept;
  void on_deadline() noexcept;
  void set_deadline(double after_s) noexcept;
  bool make_thread() noexcept;

  Engine& engine_;
  wsgi_request* const request_;
  uwsgi_socket* socket_ = nullptr;
  Phase phase_ = Phase::kFree;
  std::unique_ptr<RequestThread> thread_;
  Harakiri harakiri_;
  std::shared_ptr<WebSocket> websocket_;
  python::PyRef connection_;  // What offer_connection() gave.
  python::PyRef context_;     // The request's contextvars.Context while Python runs.

  bool lacks_stack_ = false;
  bool named_ = false;         // As its thread is named in Python.
  bool failed_ = false;        // The application raised.
  bool asgiref_told_ = false;  // Its thread's async_to_sync() runs on the worker's loop.
  bool close_after_ = false;   // The connection is not kept alive after this request.
  bool loading_ = false;       // It may be what loads its application.
  bool ending_ = false;        // uWSGI ends the request, and the connection with it.

  double slice_began_ = 0;         // The first yield since it ran on; 0: none yet.
  std::size_t sent_at_yield_ = 0;  // Of the body, as it yielded last.

  // A kept-alive connection keeps its watcher, so that the next request costs no system call
  // to arm it. The same for the timer: deadline_ moves, and the timer looks when it is due.
  loop::IoWatcher<Core, &Core::on_readable> readable_;
  loop::TimerWatcher<Core, &Core::on_deadline> timer_;
  double deadline_ = 0;  // As all here monotonic_s()'s; 0: none.
  CoalescedChunks coalesced_;
  std::optional<RequestFraming> framing_;  // Views of the request, from where Python begins.
  double began_s_ = 0;
  double incomplete_since_ = 0;
  bool begun_ = false;  // Part of that request has come.
  // Its place among the pool's idle connections or incomplete requests, which is kept here while it is in
  // neither list: a request on a kept-alive connection allocates none.
  std::list<Core*> place_kept_{this};
  const std::list<Core*>::iterator place_ = place_kept_.begin();

  // uWSGI forgets the peer with each request of a kept-alive connection.
  decltype(wsgi_request::client_addr) peer_{};
  int peer_size_ = 0;
};

}  // namespace engine
