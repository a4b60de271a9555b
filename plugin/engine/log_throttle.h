// A line of the log that many would say at once.
#pragma once

#include <ctime>

#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Lets the first through, and then one in ten seconds, with how many there were.
class LogThrottle {
 public:
  // 0: say nothing. Otherwise how many times this was asked since the last that was said.
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
