// What may end a request from outside: its deadline, and its client's leaving.
#pragma once

#include <Python.h>

#include "plugin/loop/peer_watch.h"
#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

class RequestThread;

// The keys of the environ that a route (addvar), a proxy or the application sets for one request.
inline constexpr char kTimeoutKey[] = "uwsgi_tornado.timeout";               // Seconds since it began; 0 or None: none.
inline constexpr char kDisconnectKey[] = "uwsgi_tornado.client_disconnect";  // "0" or "1".

// Of the request that stands on a thread. The loop's thread only.
class RequestLimits {
 public:
  explicit RequestLimits(RequestThread& thread) noexcept;
  RequestLimits(const RequestLimits&) = delete;
  RequestLimits& operator=(const RequestLimits&) = delete;

  // The request begins to run; its time has gone on since `began_s` (monotonic_s()).
  void begin(double began_s) noexcept;
  // The environ is there. With the GIL held.
  void read(PyObject* environ) noexcept;
  // The application may have set another timeout meanwhile. With the GIL held.
  void read_timeout(PyObject* environ) noexcept;
  // The application has failed, or is through: what it is being ended with has done its work.
  void settle() noexcept;
  // The request is over.
  void end() noexcept;
  // The worker ends, and will not wait for it. Outside any fiber.
  void worker_ends() noexcept;

  // How settle() found it.
  bool timed_out() const noexcept { return timed_out_; }
  bool client_gone() const noexcept { return client_gone_; }
  bool worker_ended() const noexcept { return worker_ended_; }

 private:
  void set_timeout(double seconds) noexcept;
  void on_due() noexcept;
  void on_client_gone() noexcept;

  RequestThread& thread_;
  loop::TimerWatcher<RequestLimits, &RequestLimits::on_due> timer_;
  loop::PeerWatch client_;
  python::PyRef timeout_read_;  // The environ's value that was read last.
  double began_s_ = 0;
  double timeout_s_ = 0;        // 0: none.
  bool timed_out_ = false;
  bool client_gone_ = false;
  bool worker_ended_ = false;
};

}  // namespace engine
