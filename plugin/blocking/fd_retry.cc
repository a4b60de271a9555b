#include "plugin/blocking/fd_retry.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "plugin/blocking/libc.h"
#include "plugin/blocking/tally.h"

namespace blocking {

bool is_nonblocking(int fd) noexcept {
  const int saved_errno = errno;
  const int flags = libc::fcntl(fd, F_GETFL);
  errno = saved_errno;
  return flags < 0 || (flags & O_NONBLOCK) != 0;
}

bool would_block() noexcept { return errno == EAGAIN || errno == EWOULDBLOCK; }

int socket_option(int fd, int option) noexcept {
  const int saved_errno = errno;
  int value = -1;
  socklen_t size = sizeof value;
  const int result = getsockopt(fd, SOL_SOCKET, option, &value, &size);
  errno = saved_errno;
  return result == 0 ? value : -1;
}

Deadline socket_deadline(int fd, int option) noexcept {
  const int saved_errno = errno;
  timeval limit{};
  socklen_t size = sizeof limit;
  const int result = getsockopt(fd, SOL_SOCKET, option, &limit, &size);
  errno = saved_errno;
  if (result != 0 || (limit.tv_sec == 0 && limit.tv_usec == 0)) return Deadline::never();
  return Deadline::after(timespec{limit.tv_sec, limit.tv_usec * 1000L});
}

bool is_ready(int fd, short events) noexcept {
  pollfd descriptor{fd, events, 0};
  return libc::poll(&descriptor, 1, 0) != 0;
}

namespace {

// False for the wrong end of a pipe, which never polls ready.
bool is_opened_for(int fd, short events) noexcept {
  const int mode = libc::fcntl(fd, F_GETFL) & O_ACCMODE;
  return mode != (events == POLLIN ? O_WRONLY : O_RDONLY);
}

}  // namespace

bool wait_until_ready(suspend::Fiber& fiber, Tally& tally, int fd, short events) {
  if (is_ready(fd, events)) return true;
  // The call itself says EAGAIN, or EBADF, and may know better than poll.
  if (is_nonblocking(fd) || !is_opened_for(fd, events)) return true;
  FdRetry retry(fiber, fd, events, tally);
  while (retry.wait_again()) {
    if (is_ready(fd, events)) return true;
  }
  return false;
}

bool FdRetry::wait_again() {
  // A datagram socket polls as writable though the queue of the receiver is full.
  if (waited_ && events_ == POLLOUT && is_ready(fd_, events_)) return wait_a_moment();
  return wait(events_, Deadline::never());
}

bool FdRetry::wait_a_moment() { return wait(0, Deadline::after(kMomentS)); }

bool FdRetry::wait(short events, Deadline moment) {
  if (!asked_) {
    asked_ = true;
    patient_ = !is_nonblocking(fd_);
    if (patient_) deadline_ = socket_deadline(fd_, events_ == POLLIN ? SO_RCVTIMEO : SO_SNDTIMEO);
  }
  errno = EAGAIN;
  if (!patient_ || deadline_.passed()) return false;
  ++tally_.suspended;
  waited_ = true;
  const Woken woken = wait_for(fiber_, fd_, events, deadline_.sooner(moment));
  if (woken == Woken::kClosed) errno = EBADF;
  if (woken == Woken::kInterrupted) errno = kInterruptedErrno;
  return woken == Woken::kPosted || (woken == Woken::kTimedOut && !deadline_.passed());
}

}  // namespace blocking
