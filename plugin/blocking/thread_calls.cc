// What else threads wait for each other by: read-write locks, barriers, once, the end of a thread.
#include <pthread.h>
#include <time.h>

#include <cerrno>
#include <climits>

#include "plugin/blocking/address_waiters.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/lock_calls.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"
#include "plugin/loop/clock.h"

namespace blocking {
namespace {

// --- Read-write locks ---------------------------------------------------------------------------

Tally rwlock_tally("pthread_rwlock");

using TryRwlock = int (*)(pthread_rwlock_t*);

bool is_busy(int result) noexcept { return result == EBUSY || result == EAGAIN; }

// libc's answer to the writer that locks again.
bool is_writer(const pthread_rwlock_t& lock) noexcept {
  const suspend::Fiber* const self = suspend::Fiber::current();
  return self != nullptr && lock.__data.__cur_writer == self->thread().number();
}

// `natively()` is libc's call. With the GIL kept it may be a suspended request that has the lock.
template <typename Natively>
int lock_rwlock(pthread_rwlock_t* lock, Deadline deadline, TryRwlock try_lock,
                Natively natively_lock) noexcept {
  if (!on_loop_thread()) return natively_lock();
  int result = try_lock(lock);
  if (!is_busy(result)) return result;
  if (is_writer(*lock)) return EDEADLK;
  const LockWaiter who = LockWaiter::where_at_all();
  if (!who) return natively(rwlock_tally, natively_lock);
  const Woken woken =
      wait_to_take(who, lock, deadline, rwlock_tally, Changes::kPerhapsUnseen, Abort::kNever, [&] {
        result = try_lock(lock);
        return !is_busy(result);
      });
  return woken == Woken::kPosted ? result : ETIMEDOUT;
}

int suspending_rdlock(pthread_rwlock_t* lock) noexcept {
  return lock_rwlock(lock, Deadline::never(), libc::pthread_rwlock_tryrdlock,
                     [=] { return libc::pthread_rwlock_rdlock(lock); });
}

int suspending_wrlock(pthread_rwlock_t* lock) noexcept {
  return lock_rwlock(lock, Deadline::never(), libc::pthread_rwlock_trywrlock,
                     [=] { return libc::pthread_rwlock_wrlock(lock); });
}

template <const auto& Real, const auto& Try>
int suspending_timed_rwlock(pthread_rwlock_t* lock, const timespec* until) noexcept {
  const auto deadline = deadline_of(CLOCK_REALTIME, until);
  if (!deadline) return Real(lock, until);
  return lock_rwlock(lock, *deadline, Try, [=] { return Real(lock, until); });
}

template <const auto& Real, const auto& Try>
int suspending_clock_rwlock(pthread_rwlock_t* lock, clockid_t clock, const timespec* until) noexcept {
  const auto deadline = deadline_of(clock, until);
  if (!deadline) return Real(lock, clock, until);
  return lock_rwlock(lock, *deadline, Try, [=] { return Real(lock, clock, until); });
}

// Readers may all go on.
int waking_rwlock_unlock(pthread_rwlock_t* lock) noexcept {
  const int result = libc::pthread_rwlock_unlock(lock);
  if (result == 0) AddressWaiters::all().changed(lock, INT_MAX);
  return result;
}

// --- Barriers, and the end of a thread ------------------------------------------------------------

Tally barrier_tally("pthread_barrier_wait");
Tally join_tally("pthread_join");

// A barrier counts threads and does not ask which: a helper stands there for the fiber.
int suspending_barrier_wait(pthread_barrier_t* barrier) noexcept {
  const auto wait = [=] { return libc::pthread_barrier_wait(barrier); };
  suspend::Fiber* const fiber = may_suspend();
  if (fiber == nullptr) return natively(barrier_tally, wait);
  return offload(*fiber, barrier_tally, JobKind::kWait, wait, wait);
}

// Any thread may wait for the end of another.
int suspending_join(pthread_t thread, void** result) noexcept {
  const auto join = [=] { return libc::pthread_join(thread, result); };
  suspend::Fiber* const fiber = pthread_equal(thread, libc::pthread_self()) ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(join_tally, join);
  const int at_once = libc::pthread_tryjoin_np(thread, result);
  if (at_once != EBUSY) return at_once;
  return offload(*fiber, join_tally, JobKind::kWait, join, join);
}

// --- Once -----------------------------------------------------------------------------------------

Tally once_tally("pthread_once");

// Bits of a pthread_once_t (nptl/pthread_once.c); what is above them counts forks.
constexpr int kOnceInProgress = 1, kOnceDone = 2;

int once_state(pthread_once_t* control) noexcept { return __atomic_load_n(control, __ATOMIC_ACQUIRE); }

}  // namespace

// The one that calls the function may be suspended in it; those that wait for it are, too.
int suspending_once(pthread_once_t* control, void (*function)()) {
  const auto is_free = [=] {
    return (once_state(control) & kOnceInProgress) == 0 || (once_state(control) & kOnceDone) != 0;
  };
  while (on_loop_thread() && !is_free()) {
    const LockWaiter who = LockWaiter::where_at_all();
    if (!who) break;
    wait_to_take(who, control, Deadline::never(), once_tally, Changes::kPerhapsUnseen, Abort::kNever,
                 is_free);
  }
  struct Told {
    pthread_once_t* control;
    ~Told() { AddressWaiters::all().changed(control, INT_MAX); }  // Also where the function throws.
  } told{control};
  return libc::pthread_once(control, function);
}

std::vector<Call> thread_calls() {
  return {
      {"pthread_rwlock_rdlock", address_of(suspending_rdlock), Scope::kAnyLibrary},
      {"pthread_rwlock_wrlock", address_of(suspending_wrlock), Scope::kAnyLibrary},
      {"pthread_rwlock_timedrdlock",
       address_of(suspending_timed_rwlock<libc::pthread_rwlock_timedrdlock, libc::pthread_rwlock_tryrdlock>),
       Scope::kAnyLibrary},
      {"pthread_rwlock_timedwrlock",
       address_of(suspending_timed_rwlock<libc::pthread_rwlock_timedwrlock, libc::pthread_rwlock_trywrlock>),
       Scope::kAnyLibrary},
      {"pthread_rwlock_clockrdlock",
       address_of(suspending_clock_rwlock<libc::pthread_rwlock_clockrdlock, libc::pthread_rwlock_tryrdlock>),
       Scope::kAnyLibrary},
      {"pthread_rwlock_clockwrlock",
       address_of(suspending_clock_rwlock<libc::pthread_rwlock_clockwrlock, libc::pthread_rwlock_trywrlock>),
       Scope::kAnyLibrary},
      {"pthread_rwlock_unlock", address_of(waking_rwlock_unlock), Scope::kAnyLibrary},
      {"pthread_barrier_wait", address_of(suspending_barrier_wait), Scope::kAnyLibrary},
      {"pthread_join", address_of(suspending_join), Scope::kAnyLibrary},
      {"pthread_once", address_of(suspending_once), Scope::kAnyLibrary},
  };
}

}  // namespace blocking
