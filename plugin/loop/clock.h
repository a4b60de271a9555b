// The time that deadlines are reckoned in.
#pragma once

#include <time.h>

namespace loop {

// Seconds on CLOCK_MONOTONIC. Not ev_now() or ev_time(), which are the wall clock's: that is set, and
// leaps.
inline double monotonic_s() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace loop
