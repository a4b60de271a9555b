// Condition variables of C libraries: a fiber that waits for one is suspended.
#include <pthread.h>
#include <time.h>

#include <cerrno>
#include <climits>

#include "plugin/blocking/address_waiters.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/lock_calls.h"
#include "plugin/blocking/tally.h"
#include "plugin/loop/clock.h"

// A wait for a condition may end for no reason (POSIX), so its caller checks again. A waiting fiber resumes
// now and then, in case the signal came from a call that is not redirected.

namespace blocking {
namespace {

Tally condition_tally("pthread_cond_wait");

// 0, ETIMEDOUT or what its mutex says.
int wait_as(const LockWaiter& who, pthread_cond_t* condition, pthread_mutex_t* mutex, Deadline deadline,
            bool& told) noexcept {
  int unlocked = 0;
  const Woken woken = wait_for_change(who, condition, deadline, condition_tally, told, [&] {
    unlocked = waking_mutex_unlock(mutex);
    return unlocked == 0;
  });
  if (unlocked != 0) return unlocked;
  const int locked = suspending_mutex_lock(mutex);
  if (locked != 0) return locked;
  return woken == Woken::kTimedOut ? ETIMEDOUT : 0;
}

// `natively(until)` is libc's wait until a time on the monotonic clock; null means for ever. If C code keeps
// the GIL, the signal usually comes from another thread, and no request may run Python meanwhile.
template <typename Natively>
int wait_until(pthread_cond_t* condition, pthread_mutex_t* mutex, Deadline deadline,
               Natively natively_until) noexcept {
  if (!on_loop_thread()) return natively_until(nullptr);
  bool told = false;
  if (const LockWaiter who = LockWaiter::where_allowed())
    return wait_as(who, condition, mutex, deadline, told);
  const LockWaiter who = LockWaiter::where_possible();
  if (!who) return natively(condition_tally, [&] { return natively_until(nullptr); });
  if (!WaitGoesOn::at(condition)) {
    const timespec slice = loop::to_timespec(loop::monotonic_ns() + kNativelyNs);
    const int result = natively(condition_tally, [&] { return natively_until(&slice); });
    if (result != ETIMEDOUT || deadline.passed()) return result;
  }
  const int result = wait_as(who, condition, mutex, deadline, told);
  WaitGoesOn::ended(condition, told);
  return result;
}

}  // namespace

int suspending_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) noexcept {
  return wait_until(condition, mutex, Deadline::never(), [=](const timespec* slice) {
    return slice == nullptr ? libc::pthread_cond_wait(condition, mutex)
                            : libc::pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, slice);
  });
}

namespace {

// `wait` is libc's call with the caller's own time.
template <typename Wait>
int wait_with_deadline(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                       const timespec* until, Wait wait) noexcept {
  const auto deadline = deadline_of(clock, until);
  if (!deadline) return wait();
  return wait_until(condition, mutex, *deadline, [&](const timespec* slice) {
    const bool slice_first = slice != nullptr && deadline->left_s() > static_cast<double>(kNativelyNs) * 1e-9;
    return slice_first ? libc::pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, slice) : wait();
  });
}

// pthread_condattr_setclock() chose it: a bit of libc's (nptl/pthread_cond_init.c).
clockid_t clock_of(const pthread_cond_t& condition) noexcept {
  constexpr unsigned kMonotonic = 2;
  return (condition.__data.__wrefs & kMonotonic) != 0 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

}  // namespace

int suspending_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                              const timespec* until) noexcept {
  return wait_with_deadline(condition, mutex, clock_of(*condition), until,
                            [=] { return libc::pthread_cond_timedwait(condition, mutex, until); });
}

static int suspending_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                                     const timespec* until) noexcept {
  return wait_with_deadline(condition, mutex, clock, until,
                            [=] { return libc::pthread_cond_clockwait(condition, mutex, clock, until); });
}

// Both: a fiber and a thread may wait for the same, and one too many looks again.
int waking_cond_signal(pthread_cond_t* condition) noexcept {
  const int result = libc::pthread_cond_signal(condition);
  AddressWaiters::all().changed(condition);
  return result;
}

int waking_cond_broadcast(pthread_cond_t* condition) noexcept {
  const int result = libc::pthread_cond_broadcast(condition);
  AddressWaiters::all().changed(condition, INT_MAX);
  return result;
}

std::vector<Call> condition_calls() {
  // Not libpython's: those are the GIL's.
  return {
      {"pthread_cond_wait", address_of(suspending_cond_wait), Scope::kAnyLibrary},
      {"pthread_cond_timedwait", address_of(suspending_cond_timedwait), Scope::kAnyLibrary},
      {"pthread_cond_clockwait", address_of(suspending_cond_clockwait), Scope::kAnyLibrary},
      {"pthread_cond_signal", address_of(waking_cond_signal), Scope::kAnyLibrary},
      {"pthread_cond_broadcast", address_of(waking_cond_broadcast), Scope::kAnyLibrary},
  };
}

}  // namespace blocking
