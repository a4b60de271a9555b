// Harakiri of requests that run at the same time. A uWSGI worker has one deadline for --harakiri and one for
// set_user_harakiri(), made for one request at a time: each request sets it and clears it at its end. Here
// each request has its own deadlines, and the worker's are the earliest.
#pragma once

#include <ctime>

namespace engine {

// A request's deadline by --harakiri, on uWSGI's clock. The loop's thread only.
class Harakiri {
 public:
  ~Harakiri() { end(); }
  void begin() noexcept;
  // After uWSGI has cleared the worker's.
  void end() noexcept;
  // 0: none.
  time_t deadline() const noexcept { return deadline_; }

 private:
  time_t deadline_ = 0;
};

// A request's deadline by uwsgi.set_user_harakiri() and the route action harakiri. A deadline that it sets
// while it runs is its own.
class UserHarakiri {
 public:
  ~UserHarakiri() { set(0); }
  void entering() noexcept;
  void left(bool ended) noexcept;
  time_t deadline() const noexcept { return deadline_; }

 private:
  void set(time_t deadline) noexcept;

  time_t deadline_ = 0;
};

// Of all requests, of either kind; 0: none.
time_t earliest_harakiri() noexcept;

}  // namespace engine
