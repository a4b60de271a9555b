// Counts watchers.
#pragma once

namespace loop {

// Watchers started and not yet stopped, for leak checks. The loop's thread only.
inline int active_watchers = 0;

// Whether one watcher will call again. libev's own flag falls earlier: a timer that is due
// is stopped by libev before it makes its call.
class Activity {
 public:
  void set(bool active) noexcept {
    active_watchers += static_cast<int>(active) - static_cast<int>(active_);
    active_ = active;
  }
  bool get() const noexcept { return active_; }

 private:
  bool active_ = false;
};

}  // namespace loop
