// Semaphores: what every lock, condition, event, queue and future of Python is made of.
#include <semaphore.h>
#include <time.h>

#include <atomic>
#include <cerrno>

#include "plugin/blocking/address_waiters.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/identity.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/lock_calls.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"
#include "suspend/baton.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally lock_tally("lock");

// CPython's own locks are posted by CPython (Changes::kSeen). A semaphore of another module may be posted by
// another process (multiprocessing) or by a library that is left alone.

// How long an interrupted fiber may still wait for a lock. Clean-up code takes locks (a pool's, a log's),
// which are free again in a moment.
constexpr double kLastRetryS = 1;

// What CPython waited for when it was told of an interruption last. A name only. Written by the loop's
// thread, read by any.
std::atomic<const sem_t*> told_of{nullptr};

// Takes the semaphore. False with ETIMEDOUT or EINTR.
bool take(const LockWaiter& who, sem_t* semaphore, Deadline deadline, Changes changes, Abort abort) {
  const Woken woken = wait_to_take(who, semaphore, deadline, lock_tally, changes, abort,
                                   [=] { return sem_trywait(semaphore) == 0; });
  if (woken == Woken::kPosted) return true;
  errno = woken == Woken::kTimedOut ? ETIMEDOUT : EINTR;
  return false;
}

// A fiber that was told of an interruption and tries again did not look for it. The look may itself take
// another lock, that of pending calls, before it asks whether this is the main thread (3.12).
LockWaiter who_waits(const sem_t* semaphore) noexcept {
  if (semaphore == told_of.load(std::memory_order_relaxed)) show_loop_thread(false);
  return LockWaiter::where_allowed();
}

// An interruption of CPython's own is EINTR, which it answers by looking for a signal: it finds the
// exception there. Others are told as by any call (interruption.h).
bool take(const LockWaiter& who, sem_t* semaphore, Deadline deadline, Changes changes) {
  if (who.fiber == nullptr) return take(who, semaphore, deadline, changes, Abort::kNever);
  Fiber& fiber = *who.fiber;
  const bool was_interrupted = fiber.interrupt().in_force() && fiber.interrupt().met();
  const Deadline retry = was_interrupted ? deadline.sooner(Deadline::after(kLastRetryS)) : deadline;
  if (take(who, semaphore, retry, changes, was_interrupted ? Abort::kNever : Abort::kAllowed)) return true;
  if (was_interrupted && !deadline.passed()) errno = EINTR;
  if (errno != EINTR) return false;
  if (changes == Changes::kSeen) {
    told_of.store(semaphore, std::memory_order_relaxed);
    gate()->lock_wait_interrupted(fiber);
  } else {
    errno = kInterruptedErrno;
  }
  return false;
}

template <Changes changes>
int suspending_sem_wait(sem_t* semaphore) noexcept {
  const LockWaiter who = who_waits(semaphore);
  if (!who) return natively(lock_tally, [&] { return libc::sem_wait(semaphore); });
  if (sem_trywait(semaphore) == 0) return 0;
  return take(who, semaphore, Deadline::never(), changes) ? 0 : -1;
}

template <Changes changes>
int suspending_sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* until) noexcept {
  const LockWaiter who = who_waits(semaphore);
  const auto deadline = deadline_of(clock, until);
  if (!who || !deadline)
    return natively(lock_tally, [&] { return libc::sem_clockwait(semaphore, clock, until); });
  if (sem_trywait(semaphore) == 0) return 0;
  return take(who, semaphore, *deadline, changes) ? 0 : -1;
}

template <Changes changes>
int suspending_sem_timedwait(sem_t* semaphore, const timespec* until) noexcept {
  return suspending_sem_clockwait<changes>(semaphore, CLOCK_REALTIME, until);
}

// Alone of all that wake it may be called in a signal handler (signal-safety(7)).
int waking_sem_post(sem_t* semaphore) noexcept {
  const int result = libc::sem_post(semaphore);
  // `semaphore` may be gone by now: from here on it is a name only.
  if (gate_is_open()) AddressWaiters::all().changed(semaphore, 1, AddressWaiters::By::kSemPost);
  return result;
}

}  // namespace

std::vector<Call> lock_calls() {
  return {
      {"sem_wait", keeping_errno<suspending_sem_wait<Changes::kSeen>>(), Scope::kLibpythonOnly},
      {"sem_timedwait", keeping_errno<suspending_sem_timedwait<Changes::kSeen>>(), Scope::kLibpythonOnly},
      {"sem_clockwait", keeping_errno<suspending_sem_clockwait<Changes::kSeen>>(), Scope::kLibpythonOnly},
      {"sem_wait", keeping_errno<suspending_sem_wait<Changes::kPerhapsUnseen>>(), Scope::kAnyLibrary},
      {"sem_timedwait", keeping_errno<suspending_sem_timedwait<Changes::kPerhapsUnseen>>(),
       Scope::kAnyLibrary},
      {"sem_clockwait", keeping_errno<suspending_sem_clockwait<Changes::kPerhapsUnseen>>(),
       Scope::kAnyLibrary},
      {"sem_post", keeping_errno<waking_sem_post>(), Scope::kAnywhere},
  };
}

int fibers_waiting_for_locks() noexcept { return AddressWaiters::all().waiting(); }

}  // namespace blocking
