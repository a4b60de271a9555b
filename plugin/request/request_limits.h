// What may end a request from outside: its deadline, or the disconnect of its client.
#pragma once

#include <Python.h>

#include <string>

#include "plugin/loop/peer_watch.h"
#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

class RequestThread;

// The keys of the environ that a route (addvar), a proxy or the application sets for one request.
inline constexpr char kTimeoutKey[] = "uwsgi_tornado.timeout";  // Seconds since it began; 0 or None: none.
inline constexpr char kDisconnectKey[] = "uwsgi_tornado.client_disconnect";  // "0" or "1".

enum class EndedBy { kNothing, kTimeout, kClientGone, kWorkerEnd };

// The limits of the request that runs on a thread. The loop's thread only.
class RequestLimits {
 public:
  explicit RequestLimits(RequestThread& thread) noexcept;
  RequestLimits(const RequestLimits&) = delete;
  RequestLimits& operator=(const RequestLimits&) = delete;

  // The request begins to run.
  void begin() noexcept;
  // The environ is there. With the GIL held.
  void read(PyObject* environ) noexcept;
  // The same if uWSGI's python plugin has not filled the environ: copies the variables of routes and proxies.
  // Throws PyError.
  void read_variables(const wsgi_request& request, PyObject* environ);
  // The application may have set another timeout meanwhile. With the GIL held.
  void read_timeout(PyObject* environ) noexcept;
  // The application raised or returned, so an interruption has done its work.
  void settle() noexcept;
  // The request is over.
  void end() noexcept;
  // It continues without a client: uwsgi.disconnect().
  void stop_watching_client() noexcept { client_.stop(); }
  // The worker ends, and will not wait for it. Outside any fiber.
  void worker_ends() noexcept;

  // What ended it, if anything did; valid until the next one begins.
  EndedBy ended_by() const noexcept { return ended_by_; }

 private:
  void set_timeout(double seconds) noexcept;
  void on_due() noexcept;
  void on_client_gone() noexcept;
  void interrupt(EndedBy by, PyObject* type, const std::string& message) noexcept;

  RequestThread& thread_;
  loop::TimerWatcher<RequestLimits, &RequestLimits::on_due> timer_;
  loop::PeerWatch client_;
  python::PyRef timeout_read_;  // The environ's value that was read last.
  double timeout_s_ = 0;        // 0: none.
  EndedBy ended_by_ = EndedBy::kNothing;
};

}  // namespace engine
