// The time that deadlines are reckoned in.
#pragma once

#include <time.h>

#include <cstdint>

namespace loop {

inline constexpr std::int64_t kSecondNs = 1'000'000'000;

inline std::int64_t to_ns(const timespec& time) noexcept {
  return static_cast<std::int64_t>(time.tv_sec) * kSecondNs + time.tv_nsec;
}

inline timespec to_timespec(std::int64_t ns) noexcept {
  timespec time;
  time.tv_sec = static_cast<time_t>(ns / kSecondNs);
  time.tv_nsec = static_cast<long>(ns % kSecondNs);
  return time;
}

// On CLOCK_MONOTONIC. Not ev_now() or ev_time(), which are the wall clock's: that is set, and leaps.
inline std::int64_t monotonic_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return to_ns(now);
}

// The same in seconds, rounded as time.monotonic() does.
inline double monotonic_s() noexcept { return static_cast<double>(monotonic_ns()) / 1e9; }

}  // namespace loop
