// The timers of an event loop, the earliest first.
#pragma once

#include <cstdint>
#include <vector>

#include "plugin/asyncio/handle.h"

namespace python {

// A binary heap of owned handles. Each knows its place in it, so cancelling one removes it at once, in O(log
// n). Of timers due at the same time, the first one added comes first.
class TimerHeap {
 public:
  TimerHeap() = default;
  ~TimerHeap() { clear(); }
  TimerHeap(const TimerHeap&) = delete;
  TimerHeap& operator=(const TimerHeap&) = delete;

  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }
  // REQUIRES: not empty.
  double earliest() const noexcept { return entries_.front().when; }

  // Takes a reference to `handle`. Sorted by handle.state.when; NaN is due at once.
  void add(Handle& handle);
  // REQUIRES: `handle` is in this heap. Gives its reference up, which may destroy it.
  void remove(Handle& handle) noexcept;
  // REQUIRES: not empty.
  PyRef take_earliest() noexcept;
  void clear() noexcept;
  // As clear(); a handle that is still referenced keeps nothing else alive.
  void drop() noexcept;

  int traverse(visitproc visit, void* arg) const noexcept;

 private:
  struct Entry {
    double when;
    std::uint64_t number;
    Handle* handle;

    bool operator<(const Entry& other) const noexcept {
      return when < other.when || (when == other.when && number < other.number);
    }
  };

  PyRef take(std::size_t place) noexcept;
  void put(std::size_t place, const Entry& entry) noexcept;
  std::size_t sink(std::size_t place) noexcept;
  void sift_up(std::size_t place, const Entry& entry) noexcept;

  std::vector<Entry> entries_;
  std::uint64_t added_ = 0;
};

}  // namespace python
