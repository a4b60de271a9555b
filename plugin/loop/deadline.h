// A point in time until which to wait.
#pragma once

#include <time.h>

#include <algorithm>
#include <cassert>

#include "plugin/loop/clock.h"

namespace loop {

// A point in time on CLOCK_MONOTONIC, or never.
class Deadline {
 public:
  static Deadline never() noexcept { return Deadline(-1); }
  // A negative `seconds` is now.
  static Deadline after(double seconds) noexcept { return Deadline(monotonic_s() + std::max(seconds, 0.0)); }
  static Deadline after(const timespec& interval) noexcept { return after(to_seconds(interval)); }
  // A timeout as many functions take it: negative or null means never.
  static Deadline after_or_never(double seconds) noexcept { return seconds < 0 ? never() : after(seconds); }
  static Deadline after_or_never(const timespec* timeout) noexcept {
    return timeout == nullptr ? never() : after(*timeout);
  }
  // A time on another clock, converted by its distance from now. In two parts, because a double holds the
  // time of day only to a quarter of a microsecond.
  static Deadline at(clockid_t clock, const timespec& until) noexcept {
    timespec now;
    clock_gettime(clock, &now);
    return after(static_cast<double>(until.tv_sec - now.tv_sec) +
                 static_cast<double>(until.tv_nsec - now.tv_nsec) * 1e-9);
  }

  bool is_never() const noexcept { return at_s_ < 0; }
  // The one that comes first.
  Deadline sooner(Deadline other) const noexcept {
    if (is_never()) return other;
    return other.is_never() || at_s_ < other.at_s_ ? *this : other;
  }
  // Seconds left, never below 0. REQUIRES: not never.
  double left_s() const noexcept {
    assert(!is_never());
    return std::max(at_s_ - monotonic_s(), 0.0);
  }
  bool passed() const noexcept { return !is_never() && left_s() <= 0; }

 private:
  explicit Deadline(double at_s) noexcept : at_s_(at_s) {}
  double at_s_;
};

}  // namespace loop
