
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "plugin/blocking/closing.h"
#include "plugin/blocking/fd_retry.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

// Every replacement below has the contract of the call it is named after (its manual
// page); where it may not suspend it is that call. None tells by errno that it waited.

namespace blocking {
namespace {

using suspend::Fiber;

Tally connect_tally("connect");
Tally accept_tally("accept");

// Makes a descriptor non-blocking for one connect(), which has no flag for it. The flag belongs to the open
// file, so other processes that have it could see it, but only for a moment, and only on a socket that is not
// connected yet, which is of no use to them.
class NonBlockingForNow {
 public:
  explicit NonBlockingForNow(int fd) noexcept : fd_(fd) { set(1); }
  ~NonBlockingForNow() {
    const int saved_errno = errno;
    set(0);
    errno = saved_errno;
  }
  NonBlockingForNow(const NonBlockingForNow&) = delete;
  NonBlockingForNow& operator=(const NonBlockingForNow&) = delete;

 private:
  // Changes only this flag, so other changes made meanwhile are kept.
  void set(int on) noexcept { ioctl(fd_, FIONBIO, &on); }

  const int fd_;
};

int connect_at_once(int fd, const sockaddr* address, socklen_t size) noexcept {
  const NonBlockingForNow for_now(fd);
  return libc::connect(fd, address, size);
}

// A datagram socket only notes the address.
bool connect_may_wait(int fd) noexcept {
  const int type = socket_option(fd, SO_TYPE);
  return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}

int suspending_connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || is_nonblocking(fd) || !connect_may_wait(fd))
    return natively(connect_tally, [&] { return libc::connect(fd, address, size); });
  static const bool interposed = libc::is_interposed(libc::connect);
  if (interposed) {
    // Whatever it does, a handshake with a proxy say, it does with a socket that waits.
    const auto call = [&] { return libc::connect(fd, address, size); };
    return offload(*fiber, connect_tally, JobKind::kWait, call, call);
  }
  const Deadline deadline = socket_deadline(fd, SO_SNDTIMEO);
  int unfinished = 0;  // What the first try said, and connect(2) says when SO_SNDTIMEO passes.
  bool looked = false;
  for (;;) {
    // The call that finds the connection made, or failed, is what ends it for the kernel too.
    if (connect_at_once(fd, address, size) == 0) return 0;
    const bool on_its_way = errno == EINPROGRESS || errno == EALREADY;
    if (!on_its_way && errno != EAGAIN) return -1;
    if (unfinished == 0) unfinished = errno;
    errno = unfinished;
    // To this machine it is made by now.
    if (on_its_way && !std::exchange(looked, true) && is_ready(fd, POLLOUT)) continue;
    if (deadline.passed()) return -1;
    ++connect_tally.suspended;
    // A UNIX socket whose listener's queue is full says EAGAIN and never polls ready for it.
    const Woken woken = on_its_way ? wait_for(*fiber, fd, POLLOUT, deadline)
                                   : wait_for(*fiber, fd, 0, deadline.sooner(Deadline::after(kMomentS)));
    if (woken == Woken::kClosed || woken == Woken::kInterrupted) {
      errno = woken == Woken::kClosed ? EBADF : kInterruptedErrno;
      return -1;
    }
  }
}

// What does not listen, accept() refuses at once.
bool is_listening(int fd) noexcept { return socket_option(fd, SO_ACCEPTCONN) == 1; }

int suspending_accept4(int fd, sockaddr* peer, socklen_t* peer_size, int flags) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || is_nonblocking(fd) || !is_listening(fd))
    return natively(accept_tally, [&] { return libc::accept4(fd, peer, peer_size, flags); });
  FdRetry retry(*fiber, fd, POLLIN, accept_tally);
  while (!is_ready(fd, POLLIN)) {
    if (!retry.wait_again()) return -1;
  }
  const auto call = [&] { return libc::accept4(fd, peer, peer_size, flags); };
  // A listener is often shared by processes: one of them may take the connection that the
  // poll saw, and must not find the listener non-blocking for our sake. So a helper goes.
  return offload(*fiber, accept_tally, JobKind::kWait, call, call);
}

int suspending_accept(int fd, sockaddr* peer, socklen_t* peer_size) noexcept {
  return suspending_accept4(fd, peer, peer_size, 0);
}

}  // namespace

std::vector<Call> connection_calls() {
  return {
      {"connect", keeping_errno<suspending_connect>()},
      {"accept", keeping_errno<suspending_accept>()},
      {"accept4", keeping_errno<suspending_accept4>()},
  };
}

std::vector<Call> closing_calls() {
  std::vector<Call> calls = {
      {"close", keeping_errno<close_and_wake>()},
      {"dup2", keeping_errno<dup2_and_wake>()},
      {"dup3", keeping_errno<dup3_and_wake>()},
  };
  if (libc::close_range != nullptr) {
    calls.push_back({"close_range", keeping_errno<close_range_and_wake>()});
    calls.push_back({"closefrom", address_of(closefrom_and_wake)});
  }
  return calls;
}

}  // namespace blocking
