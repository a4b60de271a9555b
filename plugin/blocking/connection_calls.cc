#include "plugin/blocking/io_calls.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/patience.h"
#include "plugin/blocking/real.h"

// Every replacement below has the contract of the call it is named after (its manual
// page); where it may not suspend it is that call. None tells by errno that it waited.

namespace blocking {
namespace {

using suspend::Fiber;

Tally connect_tally("connect");
Tally accept_tally("accept");

int connect_at_once(int fd, const sockaddr* address, socklen_t size) noexcept {
  const NonBlockingForNow for_now(fd);
  return real::connect(fd, address, size);
}

// A UNIX socket whose listener's queue is full says EAGAIN and never polls ready for it.
constexpr double kRetryConnectS = 0.005;

int suspending_connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || is_nonblocking(fd)) return natively(connect_tally, [&] { return real::connect(fd, address, size); });
  const Deadline deadline = socket_deadline(fd, SO_SNDTIMEO);
  for (;;) {
    if (connect_at_once(fd, address, size) == 0) return 0;
    if (errno == EINPROGRESS) break;
    if (errno != EAGAIN) return -1;
    if (deadline.passed()) return -1;
    ++connect_tally.suspended;
    sleep_until(*fiber, Deadline::after(kRetryConnectS));
  }
  ++connect_tally.suspended;
  if (!wait_for(*fiber, fd, POLLOUT, deadline)) {
    errno = EINPROGRESS;  // What connect(2) says when SO_SNDTIMEO passes.
    return -1;
  }
  int error = 0;
  socklen_t error_size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0) return -1;
  if (error == 0) return 0;
  errno = error;
  return -1;
}

int suspending_accept4(int fd, sockaddr* peer, socklen_t* peer_size, int flags) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || is_nonblocking(fd)) return natively(accept_tally, [&] { return real::accept4(fd, peer, peer_size, flags); });
  Patience patience(*fiber, fd, POLLIN, accept_tally);
  for (;;) {
    int accepted;
    {
      // Another process may take the connection that the poll saw.
      const NonBlockingForNow for_now(fd);
      accepted = real::accept4(fd, peer, peer_size, flags);
    }
    if (accepted >= 0 || !would_block() || !patience.wait_again()) return accepted;
  }
}

int suspending_accept(int fd, sockaddr* peer, socklen_t* peer_size) noexcept {
  return suspending_accept4(fd, peer, peer_size, 0);
}


int waking_close(int fd) noexcept {
  tell_closing(fd);
  return real::close(fd);
}

int waking_dup2(int from, int to) noexcept {
  if (from != to) tell_closing(to);
  return real::dup2(from, to);
}

int waking_dup3(int from, int to, int flags) noexcept {
  tell_closing(to);
  return real::dup3(from, to, flags);
}

}  // namespace

std::vector<Call> connection_calls() {
  return {
      {"connect", address_of(suspending_connect)},
      {"accept", address_of(suspending_accept)},
      {"accept4", address_of(suspending_accept4)},
      {"close", address_of(waking_close)},
      {"dup2", address_of(waking_dup2)},
      {"dup3", address_of(waking_dup3)},
  };
}

}  // namespace blocking
