// Callbacks for the next turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace loop {

struct Callback {
  void (*function)(void* argument) noexcept;
  void* argument;
};

// First in, first out. The loop's thread only.
class ReadyQueue {
 public:
  void push(Callback callback) {
    queue_.push_back(callback);
    ++pushed_;
  }
  bool empty() const noexcept { return first_ == queue_.size(); }

  // Runs what is queued now. What these callbacks queue waits for the next call,
  // so a callback that always queues another cannot keep the loop from its events.
  // A callback may call run() itself: that call takes over what is left.
  void run() noexcept;

 private:
  void drop_what_ran() noexcept;

  std::vector<Callback> queue_;
  std::size_t first_ = 0;  // Those before it have run.
  std::uint64_t pushed_ = 0;
  std::uint64_t popped_ = 0;
};

}  // namespace loop
