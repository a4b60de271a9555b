#include "plugin/blocking/address_waiters.h"
#include "plugin/blocking/tally.h"

#include <cstdint>

namespace blocking {

AddressWaiters& AddressWaiters::all() noexcept {
  static AddressWaiters* const forever = new AddressWaiters;
  return *forever;
}

AddressWaiters::Waiter* AddressWaiters::Queue::first_for(const void* address) const noexcept {
  Waiter* waiter = first;
  while (waiter != nullptr && waiter->address != address) waiter = waiter->next;
  return waiter;
}

// Null: at the end.
void AddressWaiters::Queue::insert_before(Waiter* next, Waiter& waiter) noexcept {
  waiter.next = next;
  waiter.previous = next == nullptr ? last : next->previous;
  (waiter.previous == nullptr ? first : waiter.previous->next) = &waiter;
  (next == nullptr ? last : next->previous) = &waiter;
  waiter.queued = true;
}

void AddressWaiters::Queue::remove(Waiter& waiter) noexcept {
  (waiter.previous == nullptr ? first : waiter.previous->next) = waiter.next;
  (waiter.next == nullptr ? last : waiter.next->previous) = waiter.previous;
  waiter.queued = false;
}

// A signal handler that posts a semaphore may come at any point of it.
class AddressWaiters::Lock {
 public:
  explicit Lock(AddressWaiters& waiters) noexcept : waiters_(waiters) {
    locks_ = locks_ + 1;
    waiters_.mutex_.lock();
  }
  ~Lock() {
    while (waiters_.missed_.exchange(false, std::memory_order_relaxed)) waiters_.wake_all();
    waiters_.mutex_.unlock();
    locks_ = locks_ - 1;
    if (waiters_.missed_.load(std::memory_order_relaxed)) const Lock one_more(waiters_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  AddressWaiters& waiters_;
};

AddressWaiters::Queue& AddressWaiters::queue_of(const void* address) noexcept {
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  return queues_[(number >> 3 ^ number >> 13) % queues_.size()];
}

bool AddressWaiters::enter(const void* address, Waiter& waiter, bool again) noexcept {
  bool is_first = again;
  {
    const Lock lock(*this);
    Queue& queue = queue_of(address);
    Waiter* const first = queue.first_for(address);
    waiter.address = address;
    queue.insert_before(again ? first : nullptr, waiter);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    is_first = is_first || first == nullptr;
  }
  // The caller's next look may be a plain load, as sem_trywait()'s first is. On aarch64 without a fence, such
  // a load can be done before others see the count.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return is_first;
}

void AddressWaiters::leave(Waiter& waiter, bool waited) noexcept {
  const Lock lock(*this);
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  if (waiter.woken && !waited) wake_locked(waiter.address, 1, By::kAnyCall);
  if (waiter.queued) queue_of(waiter.address).remove(waiter);
}

int AddressWaiters::wake(const void* address, int wake_max, By by) noexcept {
  if (locks_ > 0) {
    missed_.store(true, std::memory_order_relaxed);
    return 1;
  }
  const Lock lock(*this);
  return wake_locked(address, wake_max, by);
}

namespace {

// False where its wait has ended otherwise. It goes on in the next turn, or two fibers that pass a lock to
// and fro would keep the loop from everything else.
bool wake_one(const AddressWaiters::Waiter& waiter, AddressWaiters::By by) noexcept {
  const bool in_order = by == AddressWaiters::By::kAnyCall && on_loop_thread();
  if (waiter.baton != nullptr) return in_order ? waiter.baton->post_next_turn() : waiter.baton->post_soon();
  if (in_order) end_turn();
  else suspend::Resumer::ring_installed();
  return true;
}

}  // namespace

int AddressWaiters::wake_locked(const void* address, int wake_max, By by) noexcept {
  Queue& queue = queue_of(address);
  int woken = 0;
  while (woken < wake_max) {
    Waiter* const first = queue.first_for(address);
    if (first == nullptr) break;
    queue.remove(*first);
    first->woken = wake_one(*first, by);
    woken += static_cast<int>(first->woken);
  }
  return woken;
}

void AddressWaiters::wake_all() noexcept {
  for (Queue& queue : queues_) {
    while (queue.first != nullptr) wake_locked(queue.first->address, 1, By::kSemPost);
  }
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
  const bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
  const bool valid = until->tv_nsec >= 0 && until->tv_nsec < loop::kSecondNs;  // Before 1970, too: long over.
  return known && valid ? std::make_optional(Deadline::at(clock, *until)) : std::nullopt;
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
