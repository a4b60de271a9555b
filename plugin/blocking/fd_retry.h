// How long a call on a blocking descriptor may wait, and the waiting itself.
#pragma once

#include "plugin/blocking/call.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"
#include "suspend/fiber.h"

namespace blocking {

// True if the caller asked for calls that do not wait, or the descriptor is not open. Preserves
// errno.
bool is_nonblocking(int fd) noexcept;

// A numeric socket option; -1 if `fd` is not a socket. Preserves errno.
int socket_option(int fd, int option) noexcept;

// SO_RCVTIMEO or SO_SNDTIMEO, the limit of a blocking call on a socket (socket(7)); never if none is set or
// `fd` is not a socket. Preserves errno.
Deadline socket_deadline(int fd, int option) noexcept;

// True if a call would not wait, or has an error to report.
bool is_ready(int fd, short events) noexcept;

// Waits until a pipe, a terminal or the like can be read or written. Regular files always can. Returns false,
// with errno, if the call must not be made.
bool wait_until_ready(suspend::Fiber& fiber, Tally& tally, int fd, short events);

// The pause between tries if no event reports what a call waits for.
constexpr double kMomentS = 0.005;

// True if errno says that the call would have waited.
bool would_block() noexcept;

// Waits for a descriptor on behalf of a call that would block on it.
class FdRetry {
 public:
  // `events` is POLLIN or POLLOUT.
  FdRetry(suspend::Fiber& fiber, int fd, short events, Tally& tally) noexcept
      : fiber_(fiber), fd_(fd), events_(events), tally_(tally) {}

  // True if the call is worth another try. False, with errno EAGAIN, if the caller asked not to wait
  // (O_NONBLOCK) or its socket timeout has passed; with EBADF if the descriptor was closed meanwhile; with
  // ECANCELED if its fiber was interrupted.
  bool wait_again();

  // The same if no event reports what the call waits for: waits a moment.
  bool wait_a_moment();

 private:
  bool wait(short events, Deadline moment);

  suspend::Fiber& fiber_;
  const int fd_;
  const short events_;
  Tally& tally_;
  bool asked_ = false;
  bool waited_ = false;
  bool patient_ = true;
  Deadline deadline_ = Deadline::never();
};

}  // namespace blocking
