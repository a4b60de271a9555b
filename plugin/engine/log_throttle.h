// Limits a log line that many requests would write at once.
#pragma once

#include <ctime>

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Lets the first line through, then one every ten seconds with the number of occurrences.
class LogThrottle {
 public:
  // Returns 0 if nothing is to be logged, otherwise the number of calls since the last logged line.
  int times() noexcept {
    ++times_;
    const time_t now = uwsgi_now();
    if (said_ != 0 && now - said_ < kEveryS) return 0;
    said_ = now;
    const int times = times_;
    times_ = 0;
    return times;
  }

 private:
  static constexpr time_t kEveryS = 10;

  time_t said_ = 0;
  int times_ = 0;
};

}  // namespace engine
