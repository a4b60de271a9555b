// A request's wait for what it asked uWSGI's async API for.
#pragma once

#include <vector>

#include "plugin/loop/deadline.h"
#include "plugin/loop/watcher.h"
#include "suspend/baton.h"

namespace engine {

class RequestThread;

// A request asks first, for descriptors and a timeout (uwsgi.wait_fd_read() and its kin, kept in
// the wsgi_request by core/async.c), and waits when it next yields or calls uwsgi.suspend().
// The loop's thread only.
class AsyncWait {
 public:
  explicit AsyncWait(RequestThread& thread) noexcept;
  AsyncWait(const AsyncWait&) = delete;
  AsyncWait& operator=(const AsyncWait&) = delete;

  // The request has asked for an event or a timeout that has not come.
  bool asked() const noexcept;

  // uwsgi.async_sleep(): a timeout, unless the request has asked for one already. uWSGI itself
  // knows whole seconds.
  void sleep_for(double seconds) noexcept;

  // Suspends the thread: until what the request asked for has come, else until the next turn.
  // REQUIRES: the thread is current.
  void park() noexcept;

  // Has a parked request go on in the next turn, unless it waits for an event or timeout.
  void resume_next_turn() noexcept;

  // A descriptor that the request asked for is ready.
  void on_ready(int fd) noexcept;

  // Its request is over: forgets what it asked for.
  void end() noexcept;

 private:
  // A descriptor that is not looked at until the request waits.
  struct Rested {
    int fd;
    int event;
  };

  void on_timeout() noexcept;
  void rest(int fd) noexcept;
  void look_at_rested() noexcept;
  void forget() noexcept;
  double left_s() const noexcept;

  RequestThread& thread_;
  suspend::Baton* baton_ = nullptr;                    // In park().
  loop::Deadline deadline_ = loop::Deadline::never();  // Of sleep_for().
  std::vector<Rested> rested_;
  loop::TimerWatcher<AsyncWait, &AsyncWait::on_timeout> timer_;
};

}  // namespace engine
