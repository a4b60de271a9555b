// Waiting for descriptors on behalf of a blocking call.
#pragma once

#include <poll.h>
#include <time.h>

#include <cerrno>

#include "suspend/fiber.h"

namespace blocking {

// A point in time on CLOCK_MONOTONIC, or never.
class Deadline {
 public:
  static Deadline never() noexcept { return Deadline(-1); }
  // A negative `seconds` is now.
  static Deadline after(double seconds) noexcept;
  static Deadline after(const timespec& interval) noexcept {
    return after(static_cast<double>(interval.tv_sec) + static_cast<double>(interval.tv_nsec) * 1e-9);
  }

  bool is_never() const noexcept { return at_s_ < 0; }
  // The one that comes first.
  Deadline sooner(Deadline other) const noexcept {
    if (is_never()) return other;
    return other.is_never() || at_s_ < other.at_s_ ? *this : other;
  }
  // Seconds left, never below 0. REQUIRES: not never.
  double left_s() const noexcept;
  bool passed() const noexcept { return !is_never() && left_s() <= 0; }

 private:
  explicit Deadline(double at_s) noexcept : at_s_(at_s) {}
  double at_s_;
};

// How a wait ended.
enum class Woken {
  kReady,  // Perhaps: it is a hint, the caller looks again itself.
  kTimedOut,
  kClosed,  // A descriptor was closed meanwhile; its number may mean another file by now.
  kInterrupted,  // The fiber is to wait no more (suspend::Fiber::interrupt()).
};

// What a call says that was interrupted so: no caller tries again on it, as on EINTR.
constexpr int kInterruptedErrno = ECANCELED;

// Suspends `fiber`, the one that runs, until one of the descriptors may be ready for what
// it asks, one is closed, or the deadline passes. Negative descriptors are skipped.
// When woken by a close, sets `revents` as poll(2) does: POLLNVAL for what was closed.
Woken wait_for(suspend::Fiber& fiber, pollfd* descriptors, nfds_t count, Deadline deadline);

// The same for one descriptor and POLLIN, POLLOUT or, to hear only of its closing, 0.
Woken wait_for(suspend::Fiber& fiber, int fd, short events, Deadline deadline);

// Suspends `fiber` until the deadline: timed out or interrupted. REQUIRES: not never.
Woken sleep_until(suspend::Fiber& fiber, Deadline deadline);

}  // namespace blocking
