// Connections that end with a response to a request that was not read.
#pragma once

#include <cstddef>
#include <list>
#include <string_view>

#include "plugin/loop/watcher.h"

namespace engine {

// Closing a connection with unread bytes resets it, and the reset may overtake the response. So each
// connection is read, and its bytes are dropped, until its client closes it, sends too much or takes too
// long. This needs no core. The loop's thread only.
class LingeringClose {
 public:
  explicit LingeringClose(struct ev_loop* loop) noexcept : loop_(loop), timer_(loop, this) {}
  ~LingeringClose();
  LingeringClose(const LingeringClose&) = delete;
  LingeringClose& operator=(const LingeringClose&) = delete;

  // Sends as much of `answer` as the socket takes at once, which is all of a short one, and closes the socket
  // later. Takes over `fd`, which must be non-blocking.
  void say(int fd, std::string_view answer) noexcept;

 private:
  struct Leaving;
  using Place = std::list<Leaving>::iterator;

  // One connection, and where it stands among the others.
  struct Leaving {
    Leaving(LingeringClose& owner, int connection, double now) noexcept
        : lingering_close(owner), fd(connection), since(now), readable(owner.loop_, this) {}
    void on_readable(int) noexcept { lingering_close.read_from(*this); }

    LingeringClose& lingering_close;
    const int fd;
    const double since;
    std::size_t read = 0;
    Place place;
    loop::IoWatcher<Leaving, &Leaving::on_readable> readable;
  };

  void linger(int fd) noexcept;
  void read_from(Leaving& leaving) noexcept;
  void end(Leaving& leaving) noexcept;
  void on_due() noexcept;

  struct ev_loop* const loop_;
  std::list<Leaving> leaving_;  // The oldest first.
  loop::TimerWatcher<LingeringClose, &LingeringClose::on_due> timer_;
};

}  // namespace engine
