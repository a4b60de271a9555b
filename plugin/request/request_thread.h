// A virtual thread that serves a uWSGI request.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>

#include "plugin/loop/ready_queue.h"
#include "plugin/python/virtual_thread.h"
#include "plugin/request/async_application.h"
#include "plugin/request/async_wait.h"
#include "plugin/request/harakiri.h"
#include "plugin/request/request_limits.h"
#include "plugin/request/request_times.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// While it runs, uWSGI's current request is its own. The request outlives the thread.
class RequestThread : public python::VirtualThread {
 public:
  // With the hub's state attached. Throws std::bad_alloc.
  // `finished` is called on the loop's stack as a task ends, whoever resumed it last.
  RequestThread(const python::Hub& hub, loop::IoLoop& loop, std::size_t stack_size, wsgi_request* request,
                loop::Callback finished);

  wsgi_request* request() const noexcept { return request_; }

  // The request's thread that runs on this OS thread, or null.
  static RequestThread* current() noexcept {
    return static_cast<RequestThread*>(python::VirtualThread::current());
  }

  // The thread that may wait here. Null on the loop itself, under a no-suspend guard, on other OS threads and
  // in a child of the worker, where a wait blocks as without a loop.
  static RequestThread* waiting() noexcept;

  // The events its request asked for by uWSGI's async API.
  AsyncWait& async_wait() noexcept { return async_wait_; }

  // What may end it from outside.
  RequestLimits& limits() noexcept { return limits_; }

  // The application that runs on the loop for it; null if the code runs on this thread.
  AsyncApplication* application() const noexcept { return application_; }
  void set_application(AsyncApplication* application) noexcept { application_ = application; }
  // Calls back once, on the loop's stack, as soon as the fiber has been left. REQUIRES: on this thread.
  void call_when_left(loop::Callback callback) noexcept { when_left_ = callback; }
  // A step of the application begins on the loop. Until it ends (null), running code counts as the request's.
  static void application_steps(RequestThread* thread) noexcept;
  // The thread of that request; null if no step runs.
  static RequestThread* stepping() noexcept { return stepping_; }

  // Null unless RequestTimes::wanted().
  const RequestTimes* times() const noexcept { return times_.get(); }

  // `environ` is what uwsgi.env shows while this thread runs; null outside the python plugin.
  void set_environ(PyObject* environ) noexcept { environ_ = environ; }

  // 0: none.
  time_t user_harakiri() const noexcept { return user_harakiri_.deadline(); }

  // Its task begins. Its time counts from `began_s` (monotonic_s()).
  void begin(double began_s) noexcept;
  double began_s() const noexcept { return began_s_; }
  // Seconds since then, and since it last began to run or to wait.
  double age_s() const noexcept;
  double since_s() const noexcept;
  std::uint64_t times_resumed() const noexcept { return times_resumed_; }

  bool has_client() const noexcept override { return request_->socket != nullptr; }
  int client_fd() const noexcept override { return request_->fd; }

  void entering() noexcept override;
  void entered() noexcept override;
  bool left() noexcept override;

 private:
  void show_environ() noexcept;

  wsgi_request* const request_;
  const loop::Callback finished_;
  AsyncWait async_wait_;
  UserHarakiri user_harakiri_;
  RequestLimits limits_;
  const std::unique_ptr<RequestTimes> times_;
  PyObject* environ_ = nullptr;  // Borrowed from the request.
  AsyncApplication* application_ = nullptr;
  loop::Callback when_left_{nullptr, nullptr};
  std::uint64_t times_resumed_ = 0;
  double began_s_ = 0;
  double switched_s_ = 0;  // As the turn began.

  static inline RequestThread* stepping_ = nullptr;
};

// The request that uWSGI's functions act on: that of the running thread, the one the loop is accepting or
// parsing, or null. Null on every other OS thread.
wsgi_request* current_request() noexcept;

// "GET /path", for messages.
std::string name_of(const wsgi_request& request);

// While one exists, the loop works on `request` outside any fiber.
class HandledByLoop {
 public:
  explicit HandledByLoop(wsgi_request* request) noexcept;
  ~HandledByLoop();
  HandledByLoop(const HandledByLoop&) = delete;
  HandledByLoop& operator=(const HandledByLoop&) = delete;
};

}  // namespace engine
