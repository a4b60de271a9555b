#include "plugin/loop/ready_queue.h"

#include <cassert>

namespace loop {

void ReadyQueue::run() noexcept {
  const std::uint64_t limit = pushed_;
  while (popped_ < limit) {
    const Callback callback = queue_[first_++];
    ++popped_;
    drop_what_ran();
    callback.function(callback.argument);
  }
}

// Amortised: the rest is moved down at most once for each half of the queue that ran.
void ReadyQueue::drop_what_ran() noexcept {
  if (first_ == queue_.size()) {
    queue_.clear();
    first_ = 0;
  } else if (first_ > 1024 && first_ * 2 > queue_.size()) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  assert(queue_.size() - first_ == pushed_ - popped_);
}

}  // namespace loop
