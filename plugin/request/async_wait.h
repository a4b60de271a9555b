// A request's wait for the events it requested by uWSGI's async API.
#pragma once

#include <vector>

#include "plugin/loop/deadline.h"
#include "plugin/loop/watcher.h"
#include "suspend/baton.h"

namespace engine {

class RequestThread;

// A request first asks for descriptors and a timeout (uwsgi.wait_fd_read() and the like, kept in the
// wsgi_request by core/async.c), and waits when it next yields or calls uwsgi.suspend(). The loop's thread
// only.
class AsyncWait {
 public:
  explicit AsyncWait(RequestThread& thread) noexcept;
  AsyncWait(const AsyncWait&) = delete;
  AsyncWait& operator=(const AsyncWait&) = delete;

  // True if the request asked for an event or a timeout that has not happened yet.
  bool asked() const noexcept;

  // uwsgi.async_sleep(): a timeout, unless the request has asked for one already. uWSGI itself
  // knows whole seconds.
  void sleep_for(double seconds) noexcept;

  // Suspends the thread until the event it asked for, or if there is none until the next turn. REQUIRES: the
  // thread is current.
  void park() noexcept;

  // Resumes a parked request in the next turn, unless it waits for an event or timeout.
  void resume_next_turn() noexcept;

  // A descriptor that the request asked for is ready.
  void on_ready(int fd) noexcept;

  // Its request has ended: forgets the events.
  void end() noexcept;

 private:
  // A descriptor that is not watched until the request waits.
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
