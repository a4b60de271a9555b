#include "plugin/blocking/address_waiters.h"

namespace blocking {

AddressWaiters& AddressWaiters::all() noexcept {
  static AddressWaiters* const forever = new AddressWaiters;
  return *forever;
}

bool AddressWaiters::enter(const void* address, Waiter& waiter, bool again) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::list<Waiter*>& queue = queues_[address];
  queue.insert(again ? queue.begin() : queue.end(), &waiter);
  waiter.queued = true;
  waiting_.fetch_add(1, std::memory_order_seq_cst);
  return queue.front() == &waiter;
}

void AddressWaiters::leave(const void* address, Waiter& waiter, bool waited) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  if (waiter.woken && !waited) wake_locked(address, 1);
  if (!waiter.queued) return;
  const auto queue = queues_.find(address);
  queue->second.remove(&waiter);
  if (queue->second.empty()) queues_.erase(queue);
}

int AddressWaiters::wake(const void* address, int wake_max) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  return wake_locked(address, wake_max);
}

namespace {

// False where its wait has ended otherwise. It goes on in the next turn, or two fibers that pass a lock to
// and fro would keep the loop from everything else.
bool wake_one(const AddressWaiters::Waiter& waiter) noexcept {
  if (waiter.baton != nullptr)
    return on_loop_thread() ? waiter.baton->post_next_turn() : waiter.baton->post_soon();
  end_turn();
  return true;
}

}  // namespace

int AddressWaiters::wake_locked(const void* address, int wake_max) noexcept {
  const auto queue = queues_.find(address);
  if (queue == queues_.end()) return 0;
  int woken = 0;
  while (woken < wake_max && !queue->second.empty()) {
    Waiter& first = *queue->second.front();
    queue->second.pop_front();
    first.queued = false;
    first.woken = wake_one(first);
    woken += static_cast<int>(first.woken);
  }
  if (queue->second.empty()) queues_.erase(queue);
  return woken;
}

LockWaiter LockWaiter::where_allowed() noexcept {
  if (suspend::Fiber* const fiber = may_suspend()) return {fiber, false};
  return {nullptr, gate() != nullptr && gate()->may_turn()};
}

LockWaiter LockWaiter::where_possible() noexcept {
  if (!on_loop_thread() || gate() == nullptr) return {};
  if (suspend::Fiber* const fiber = gate()->can_suspend()) return {fiber, false};
  return {nullptr, gate()->can_turn()};
}

std::optional<Deadline> deadline_of(clockid_t clock, const timespec* until) noexcept {
  timespec now;
  const bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
  if (!known || until->tv_nsec < 0 || until->tv_nsec >= 1000000000L || clock_gettime(clock, &now) != 0)
    return std::nullopt;
  return Deadline::after(static_cast<double>(until->tv_sec - now.tv_sec) +
                         static_cast<double>(until->tv_nsec - now.tv_nsec) * 1e-9);
}

Woken wait_once(suspend::Baton* baton, Tally& tally, Deadline until) noexcept {
  if (baton != nullptr) {
    ++tally.suspended;
    return wait(*baton, until);
  }
  turn(until);
  return until.passed() ? Woken::kTimedOut : Woken::kPosted;
}

}  // namespace blocking
