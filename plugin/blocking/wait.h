// Waiting for descriptors on behalf of a blocking call.
#pragma once

#include <poll.h>
#include <time.h>

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
  // Seconds left, never below 0. REQUIRES: not never.
  double left_s() const noexcept;
  bool passed() const noexcept { return !is_never() && left_s() <= 0; }

 private:
  explicit Deadline(double at_s) noexcept : at_s_(at_s) {}
  double at_s_;
};

// Suspends `fiber`, the one that runs, until one of the descriptors may be ready for what
// it asks, is closed by another fiber, or the deadline passes. Negative descriptors are skipped.
// Returns false when the deadline passed. The caller looks again itself: waking is a hint.
bool wait_for(suspend::Fiber& fiber, const pollfd* descriptors, nfds_t count, Deadline deadline);

// The same for one descriptor and POLLIN or POLLOUT.
bool wait_for(suspend::Fiber& fiber, int fd, short events, Deadline deadline);

// Suspends `fiber` until the deadline. REQUIRES: not never.
void sleep_until(suspend::Fiber& fiber, Deadline deadline);

// Called just before `fd` is closed, on any thread: wakes every fiber that waits for it,
// so that each finds its descriptor gone instead of hanging.
void tell_closing(int fd) noexcept;

}  // namespace blocking
