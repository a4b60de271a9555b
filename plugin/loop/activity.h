// Counts watchers.
#pragma once

namespace loop {

// Watchers started and not yet stopped, for leak checks. The loop's thread only.
inline int active_watchers = 0;

// Whether one watcher will call again. libev's own flag falls earlier: libev stops a due timer before it
// calls it.
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
