
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally sleep_tally("sleep");

// A library that comes before libc has its own clock. It sleeps on a helper thread.
template <typename Sleep>
auto sleep_elsewhere(Fiber& fiber, Sleep sleep) noexcept {
  return offload(fiber, sleep_tally, JobKind::kWait, sleep, sleep);
}

// 0, or the error number of a sleep that was interrupted.
int sleep_in(Fiber& fiber, Deadline deadline) {
  ++sleep_tally.suspended;
  return sleep_until(fiber, deadline) == Woken::kInterrupted ? kInterruptedErrno : 0;
}

int or_errno(int error) noexcept {
  if (error == 0) return 0;
  errno = error;
  return -1;
}

// Returns an error number, not errno, as clock_nanosleep(2) does. A suspended fiber gets
// no signals, so EINTR does not happen and `left` stays as it is.
int suspending_clock_nanosleep(clockid_t clock, int flags, const timespec* request, timespec* left) noexcept {
  const bool known = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME;
  Fiber* fiber = known && loop::is_valid(*request) ? may_suspend() : nullptr;
  if (fiber == nullptr)
    return natively(sleep_tally, [&] { return libc::clock_nanosleep(clock, flags, request, left); });
  static const bool interposed = libc::is_interposed(libc::clock_nanosleep);
  if (interposed)
    return sleep_elsewhere(*fiber, [&] { return libc::clock_nanosleep(clock, flags, request, left); });
  const bool absolute = (flags & TIMER_ABSTIME) != 0;
  return sleep_in(*fiber, absolute ? Deadline::at(clock, *request) : Deadline::after(*request));
}

int suspending_nanosleep(const timespec* request, timespec* left) noexcept {
  Fiber* fiber = loop::is_valid(*request) ? may_suspend() : nullptr;
  if (fiber == nullptr) return natively(sleep_tally, [&] { return libc::nanosleep(request, left); });
  static const bool interposed = libc::is_interposed(libc::nanosleep);
  if (interposed) return sleep_elsewhere(*fiber, [&] { return libc::nanosleep(request, left); });
  return or_errno(sleep_in(*fiber, Deadline::after(*request)));
}

int suspending_usleep(useconds_t microseconds) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(sleep_tally, [&] { return libc::usleep(microseconds); });
  static const bool interposed = libc::is_interposed(libc::usleep);
  if (interposed) return sleep_elsewhere(*fiber, [&] { return libc::usleep(microseconds); });
  return or_errno(sleep_in(*fiber, Deadline::after(static_cast<double>(microseconds) * 1e-6)));
}

unsigned int suspending_sleep(unsigned int seconds) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(sleep_tally, [&] { return libc::sleep(seconds); });
  static const bool interposed = libc::is_interposed(libc::sleep);
  if (interposed) return sleep_elsewhere(*fiber, [&] { return libc::sleep(seconds); });
  return sleep_in(*fiber, Deadline::after(seconds)) == 0 ? 0
                                                         : seconds;  // It cannot say how much of it is left.
}

}  // namespace

std::vector<Call> sleep_calls() {
  return {
      {"clock_nanosleep", address_of(suspending_clock_nanosleep)},
      {"nanosleep", address_of(suspending_nanosleep)},
      {"usleep", address_of(suspending_usleep)},
      {"sleep", address_of(suspending_sleep)},
  };
}

}  // namespace blocking
