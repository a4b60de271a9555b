// Fibers that wait for an object at an address: a semaphore, mutex, condition variable or futex.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"
#include "plugin/loop/clock.h"
#include "suspend/baton.h"

namespace blocking {

// The queues of waiting fibers. The kernel's futexes know threads only, so calls that change such an object
// (sem_post, pthread_mutex_unlock) also wake fibers through changed(). They do so on any thread; fibers wait
// on the loop's thread.
class AddressWaiters {
 public:
  struct Waiter {
    suspend::Baton* baton;          // Null: the loop itself waits, and turns meanwhile.
    const void* address = nullptr;  // This and the following are guarded by the mutex.
    Waiter* next = nullptr;
    Waiter* previous = nullptr;
    bool queued = false;
    bool woken = false;
  };

  // Which call made a change. sem_post() may run in a signal handler, where nothing may be allocated.
  enum class By { kAnyCall, kSemPost };

  // One for the process, never destroyed, because other threads post until the process ends.
  static AddressWaiters& all() noexcept;

  // Wakes up to `wake_max` waiters of the object at `address`, the longest-waiting first; returns how many.
  // Any thread. Costs one load while nobody waits for anything.
  //
  // No wake-up is lost. A waiter is counted before it checks the object a last time, and the object is
  // changed before the count is read. Each side has a fence between its two steps, so one of them sees the
  // other.
  int changed(const void* address, int wake_max = 1, By by = By::kAnyCall) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return waiting_.load(std::memory_order_seq_cst) == 0 ? 0 : wake(address, wake_max, by);
  }

  // Queues a waiter. With `again` it has waited before and keeps its place at the front. Returns whether it
  // is the first of its address.
  bool enter(const void* address, Waiter& waiter, bool again = false) noexcept;
  // Removes a waiter, woken or not. If it was woken before it `waited`, the next one is woken instead.
  void leave(Waiter& waiter, bool waited) noexcept;

  int waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }

  // Counts, in its scope, a waiter that polls because the object may change unseen. The loop's thread.
  class Looker {
   public:
    Looker(AddressWaiters& waiters, bool looks) noexcept : lookers_(waiters.lookers_), looks_(looks) {
      lookers_ += looks_;
    }
    ~Looker() { lookers_ -= looks_; }
    Looker(const Looker&) = delete;
    Looker& operator=(const Looker&) = delete;

   private:
    int& lookers_;
    const bool looks_;
  };

  // The polling interval, at least `at_least_s` and at most one second. It grows with the number of polling
  // waiters, so that all together poll 500 times a second, which costs less than 1 % of a CPU.
  double apart_s(double at_least_s) const noexcept { return std::clamp(lookers_ * 0.002, at_least_s, 1.0); }

 private:
  // Waiters of several addresses. Those of one address are in order of arrival.
  struct Queue {
    Waiter* first = nullptr;
    Waiter* last = nullptr;

    Waiter* first_for(const void* address) const noexcept;
    void insert_before(Waiter* next, Waiter& waiter) noexcept;
    void remove(Waiter& waiter) noexcept;
  };

  class Lock;

  Queue& queue_of(const void* address) noexcept;
  int wake(const void* address, int wake_max, By by) noexcept;
  int wake_locked(const void* address, int wake_max, By by) noexcept;
  void wake_all() noexcept;

  std::mutex mutex_;
  std::array<Queue, 1024> queues_;
  std::atomic<int> waiting_{0};
  int lookers_ = 0;

  // How many Locks the thread holds or is about to take: at most one, except in a signal handler.
  static inline thread_local volatile int locks_ = 0;
  // Set by a signal handler that ran while its thread held the mutex: any waiter may have to be woken.
  std::atomic<bool> missed_{false};
};

// The waiter for a lock: a fiber, or the loop's own code, which serves requests meanwhile because one of them
// may hold the lock. If it is neither, the call is left to libc.
struct LockWaiter {
  suspend::Fiber* fiber = nullptr;
  bool loop = false;

  // The waiter, where CPython would let another thread run.
  static LockWaiter where_allowed() noexcept;
  // The waiter even if the GIL is kept, for a wait that would otherwise stop the thread for good.
  static LockWaiter where_possible() noexcept;
  // where_allowed(), else where_possible().
  static LockWaiter where_at_all() noexcept {
    const LockWaiter allowed = where_allowed();
    return allowed ? allowed : where_possible();
  }

  explicit operator bool() const noexcept { return fiber != nullptr || loop; }
};

// The deadline of an absolute time on one of libc's clocks; nullopt if libc would reject the arguments.
std::optional<Deadline> deadline_of(clockid_t clock, const timespec* until) noexcept;

// Waits once: on `baton` or, if it is null, as the loop.
Woken wait_once(suspend::Baton* baton, Tally& tally, Deadline until) noexcept;

// Whether the engine sees every change of the object. It does not see changes by another process, or by code
// whose calls are not redirected; the first waiter then polls, and wakes the next one.
enum class Changes { kSeen, kPerhapsUnseen };

// The polling interval at first, and its limit while few waiters poll.
constexpr double kFirstLookS = 0.001;
constexpr double kSlowLookS = 0.02;

// Waits until take() returns true, and returns kPosted. Otherwise returns kTimedOut or, with Abort::kAllowed,
// kInterrupted. REQUIRES: `who` is not empty.
template <typename Take>
Woken wait_to_take(const LockWaiter& who, const void* address, Deadline deadline, Tally& tally,
                   Changes changes, Abort abort, Take take) {
  AddressWaiters& waiters = AddressWaiters::all();
  bool again = false;
  for (double look_s = kFirstLookS;; look_s = std::min(2 * look_s, waiters.apart_s(kSlowLookS))) {
    std::optional<suspend::Baton> baton;
    if (who.fiber != nullptr) baton.emplace(*who.fiber, tally.name, abort);
    AddressWaiters::Waiter waiter{baton ? &*baton : nullptr};
    const bool looks = waiters.enter(address, waiter, again) && changes == Changes::kPerhapsUnseen;
    bool taken = take();
    Woken woken = Woken::kNotYet;
    if (!taken) {
      const AddressWaiters::Looker looker(waiters, looks);
      woken = wait_once(waiter.baton, tally, looks ? deadline.sooner(Deadline::after(look_s)) : deadline);
      taken = take();
    }
    waiters.leave(waiter, woken != Woken::kNotYet);
    const bool goes = taken || woken == Woken::kInterrupted || deadline.passed();
    if (goes && woken != Woken::kNotYet && changes == Changes::kPerhapsUnseen) waiters.changed(address);
    if (taken) return Woken::kPosted;
    if (goes) return woken == Woken::kInterrupted ? woken : Woken::kTimedOut;
    again = looks || woken == Woken::kPosted;
  }
}

// --- Waits that may end spuriously: of condition variables and futexes ----------------------------

// How long such a wait lasts at most, while few waiters poll, before its caller checks again: the engine may
// not have seen the wake-up.
constexpr double kLongestWaitS = 0.05;

// A wait that keeps the GIL stops the OS thread, as it would stop every thread, for this long. After that the
// engine assumes that a suspended request has to end it, and lets the others run.
constexpr std::int64_t kNativelyNs = 100'000'000;

// Recognizes a wait with the GIL kept that continues the one before, which ended spuriously. Such a wait does
// not stop the OS thread a second time. The state is the fiber's, since thread_locals are.
class WaitGoesOn {
 public:
  static bool at(const void* address) noexcept {
    return address_ == address && loop::monotonic_ns() - ended_ns_ < kAtOnceNs;
  }
  // `told`: the wait ended because of changed().
  static void ended(const void* address, bool told) noexcept {
    address_ = told ? nullptr : address;
    ended_ns_ = loop::monotonic_ns();
  }

 private:
  static constexpr std::int64_t kAtOnceNs = 1'000'000;

  static inline thread_local const void* address_ = nullptr;
  static inline thread_local std::int64_t ended_ns_ = 0;
};

// Waits once. Calls begin() after the waiter is queued, and returns kNotYet if begin() says that there is
// nothing to wait for. Otherwise returns kPosted, perhaps spuriously, or kTimedOut. Sets `told` if changed()
// ended the wait. REQUIRES: `who` is not empty.
template <typename Begin>
Woken wait_for_change(const LockWaiter& who, const void* address, Deadline deadline, Tally& tally, bool& told,
                      Begin begin) {
  AddressWaiters& waiters = AddressWaiters::all();
  std::optional<suspend::Baton> baton;
  if (who.fiber != nullptr) baton.emplace(*who.fiber, tally.name, Abort::kNever);
  AddressWaiters::Waiter waiter{baton ? &*baton : nullptr};
  waiters.enter(address, waiter);
  const bool waits = begin();
  if (waits) {
    const AddressWaiters::Looker looker(waiters, true);
    wait_once(waiter.baton, tally, deadline.sooner(Deadline::after(waiters.apart_s(kLongestWaitS))));
  }
  waiters.leave(waiter, waits);
  told = waiter.woken;
  if (!waits) return Woken::kNotYet;
  return !waiter.woken && deadline.passed() ? Woken::kTimedOut : Woken::kPosted;
}

}  // namespace blocking
