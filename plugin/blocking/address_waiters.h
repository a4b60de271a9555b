// Waiting for what lies at an address: a semaphore, a mutex, a condition variable, a futex.
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

// Where fibers wait. The kernel's futexes do not know fibers, so whoever changes something asks here
// whether one waits for it. That happens on any thread; waiting, on the loop's.
class AddressWaiters {
 public:
  struct Waiter {
    suspend::Baton* baton;          // Null: the loop itself waits, turning.
    const void* address = nullptr;  // Under the mutex, as the next.
    Waiter* next = nullptr;
    Waiter* previous = nullptr;
    bool queued = false;
    bool woken = false;
  };

  // Where a change is told of: kSemPost may be in a signal handler, which allocates nothing.
  enum class By { kAnyCall, kSemPost };

  // Of the process, for its whole life: other threads post until it ends.
  static AddressWaiters& all() noexcept;

  // What lies at `address` was changed: the first who waits for it, or all, go on. Returns how many. Any
  // thread; one load when nobody waits for anything.
  //
  // No wake-up is lost: a waiter is counted before it looks a last time, and a change is made before the
  // count is read. Both sides have a fence between their two steps, so one of the two sees the other.
  int changed(const void* address, int wake_max = 1, By by = By::kAnyCall) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return waiting_.load(std::memory_order_seq_cst) == 0 ? 0 : wake(address, wake_max, by);
  }

  // `again`: it has waited before, and keeps its place in front of the others. True when it is the first.
  bool enter(const void* address, Waiter& waiter, bool again = false) noexcept;
  // Takes a waiter out, woken or not. A wake-up that came before it `waited` goes to the next.
  void leave(Waiter& waiter, bool waited) noexcept;

  int waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }

  // Whoever waits for what may be changed unseen, and so looks now and then. The loop's thread.
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

  // How far apart the looks of one are, at least `at_least_s`: where many look, all of them together do so
  // 500 times a second, for less than a hundredth of a CPU, and each once a second at the least.
  double apart_s(double at_least_s) const noexcept { return std::clamp(lookers_ * 0.002, at_least_s, 1.0); }

 private:
  // Those of several addresses; those of one are in the order in which they came.
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

  // How many locks the thread has, or is about to take: one, except in a signal handler.
  static inline thread_local volatile int locks_ = 0;
  // A signal handler came while its thread had the mutex: whatever it changed, somebody may wait for it.
  std::atomic<bool> missed_{false};
};

// Who would wait for a lock: a fiber; the loop's own code, which lets requests run on meanwhile, since one
// may hold what it waits for; or nobody here, and the call is libc's.
struct LockWaiter {
  suspend::Fiber* fiber = nullptr;
  bool loop = false;

  // Where CPython would let another thread run.
  static LockWaiter where_allowed() noexcept;
  // The same where the thread would otherwise stop for good: also with the GIL kept.
  static LockWaiter where_possible() noexcept;
  // The first of the two that there is.
  static LockWaiter where_at_all() noexcept {
    const LockWaiter allowed = where_allowed();
    return allowed ? allowed : where_possible();
  }

  explicit operator bool() const noexcept { return fiber != nullptr || loop; }
};

// The deadline of an absolute time on one of libc's clocks; none where a call with that fails.
std::optional<Deadline> deadline_of(clockid_t clock, const timespec* until) noexcept;

// One wait of `baton`, or of the loop where that is null.
Woken wait_once(suspend::Baton* baton, Tally& tally, Deadline until) noexcept;

// Whether all who change what is waited for are seen. Another process, or code that does not go through
// a redirected call, is not: then the first who waits looks now and then, and has the next look after it.
enum class Changes { kSeen, kPerhapsUnseen };

// Between looks, at first; and at most, where few look.
constexpr double kFirstLookS = 0.001;
constexpr double kSlowLookS = 0.02;

// Waits until take() says true. Else why not: kTimedOut or, with Abort::kAllowed, kInterrupted.
// REQUIRES: `who` may wait.
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

// --- Waits that may end for no reason: of a condition variable, of a futex ------------------------

// How long such a wait lasts at most before its caller looks again, where few wait so: whoever ended it may
// not have been seen.
constexpr double kLongestWaitS = 0.05;

// How long one with the GIL kept stops the OS thread, as it stops every thread, before it is taken for one
// that a suspended request is to end.
constexpr std::int64_t kNativelyNs = 100'000'000;

// Whether the caller of a wait with the GIL kept goes on with the one before it, which ended for no reason:
// it was stopped already, in vain. Kept for each fiber.
class WaitGoesOn {
 public:
  static bool at(const void* address) noexcept {
    return address_ == address && loop::monotonic_ns() - ended_ns_ < kAtOnceNs;
  }
  // `told`: the wait ended because somebody told of a change.
  static void ended(const void* address, bool told) noexcept {
    address_ = told ? nullptr : address;
    ended_ns_ = loop::monotonic_ns();
  }

 private:
  static constexpr std::int64_t kAtOnceNs = 1'000'000;

  static inline thread_local const void* address_ = nullptr;
  static inline thread_local std::int64_t ended_ns_ = 0;
};

// One such wait, unless begin() says that there is nothing to wait for: kNotYet then. begin() is called
// when changes at `address` are seen already. Else kPosted, perhaps for no reason, or kTimedOut. `told`
// becomes true where somebody told of a change. REQUIRES: `who` may wait.
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
