// The clock that deadlines use.
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

inline double to_seconds(const timespec& time) noexcept {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// A timeout as the kernel takes it.
inline bool is_valid(const timespec& interval) noexcept {
  return interval.tv_sec >= 0 && interval.tv_nsec >= 0 && interval.tv_nsec < kSecondNs;
}

// The time of day, which may be set.
inline double wall_clock_s() noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return to_seconds(now);
}

// CLOCK_MONOTONIC. Not ev_now() or ev_time(): those are the wall clock, which can be set.
inline std::int64_t monotonic_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return to_ns(now);
}

// The same in seconds, rounded as time.monotonic() does.
inline double monotonic_s() noexcept { return static_cast<double>(monotonic_ns()) / 1e9; }

}  // namespace loop
