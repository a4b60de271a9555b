// The private mutexes of C libraries, where requests of one thread contend for them.
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "plugin/blocking/address_waiters.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/lock_calls.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"
#include "plugin/loop/clock.h"

// A C library may keep a mutex while it waits: psycopg2 holds its connection's during a query, SQLite its
// connection's during a busy timeout. A fiber is a thread to libc, so libc knows the holder of each mutex.
// But libc's wait would stop the OS thread, and the holder with it. So a fiber that finds a mutex taken is
// suspended here until the mutex is unlocked.

namespace blocking {
namespace {

using suspend::Fiber;

Tally mutex_tally("pthread_mutex_lock");

bool is_locked_by(int result) noexcept { return result == 0 || result == EOWNERDEAD; }

// The kernel itself knows the holder of a robust mutex, or of one that inherits priorities, by the number of
// the OS thread, which a fiber does not have. Bits of libc's kind of a mutex.
constexpr int kRobust = 16, kInheritsPriority = 32, kTypeMask = 3;

bool kernel_knows_holder(const pthread_mutex_t& mutex) noexcept {
  return (mutex.__data.__kind & (kRobust | kInheritsPriority)) != 0;
}

// Which fiber holds such a mutex: to the kernel all are one. The loop's thread only.
class HeldAsOsThread {
 public:
  bool another_holds(const pthread_mutex_t* mutex) const noexcept {
    const Fiber* const self = Fiber::current();
    return std::any_of(held_.begin(), held_.end(),
                       [=](const Held& held) { return held.mutex == mutex && held.holder != self; });
  }
  void locked(const pthread_mutex_t* mutex) { held_.push_back({mutex, Fiber::current()}); }
  void unlocked(const pthread_mutex_t* mutex) noexcept {
    const Fiber* const self = Fiber::current();
    const auto last = std::find_if(held_.rbegin(), held_.rend(), [=](const Held& held) {
      return held.mutex == mutex && held.holder == self;
    });
    if (last != held_.rend())
      held_.erase(std::next(last).base());  // Else locked before the worker began to serve.
  }

 private:
  struct Held {
    const pthread_mutex_t* mutex;
    const Fiber* holder;  // Null: the loop itself.
  };
  std::vector<Held> held_;
};

HeldAsOsThread& held_as_os_thread() noexcept {
  static HeldAsOsThread* const forever = new HeldAsOsThread;  // Libraries lock until the process ends.
  return *forever;
}

// 0, EOWNERDEAD, or why not. The loop's thread.
int try_lock(pthread_mutex_t* mutex) noexcept {
  if (!kernel_knows_holder(*mutex)) return libc::pthread_mutex_trylock(mutex);
  HeldAsOsThread& held = held_as_os_thread();
  if (held.another_holds(mutex)) return EBUSY;
  int result;
  {
    const suspend::AsOsThread holder;
    result = libc::pthread_mutex_trylock(mutex);
  }
  if (is_locked_by(result)) held.locked(mutex);
  return result;
}

// The number by which libc identifies the holder of a mutex.
pid_t own_number() noexcept {
  const Fiber* const self = Fiber::current();
  return self == nullptr ? static_cast<pid_t>(syscall(SYS_gettid)) : self->thread().number();
}

// The holder locks an error-checking mutex a second time: libc reports that at once. (A recursive mutex would
// have been locked by trying; locking any other twice stops the holder, as it stops a thread.)
bool is_own_error(const pthread_mutex_t& mutex) noexcept {
  return (mutex.__data.__kind & kTypeMask) == PTHREAD_MUTEX_ERRORCHECK_NP && !kernel_knows_holder(mutex) &&
         mutex.__data.__owner == own_number();
}

// The one that must go on holds what this one needs, and this one may not let it.
[[noreturn]] void give_up() noexcept {
  static const char reason[] =
      "tornado: deadlock: a request that must not be suspended needs a mutex of a C library that a suspended "
      "request holds\n";
  (void)!libc::write(STDERR_FILENO, reason, sizeof reason - 1);
  std::abort();
}

bool held_by_fiber(const pthread_mutex_t* mutex) noexcept {
  return kernel_knows_holder(*mutex) ? held_as_os_thread().another_holds(mutex)
                                     : suspend::ThreadBlock::is_number(mutex->__data.__owner);
}

// Between looks of one that may not be suspended.
constexpr std::int64_t kShortestSleepNs = 50'000;

// Another thread holds it: most often for a moment, for which it is not worth to be suspended.
int try_a_moment(pthread_mutex_t* mutex) noexcept {
  constexpr int kTries = 50;
  int result = EBUSY;
  for (int i = 0; i < kTries && result == EBUSY && !held_by_fiber(mutex); ++i) {
    sched_yield();
    result = try_lock(mutex);
  }
  return result;
}

// Stops the OS thread, as any thread that waits for another.
int lock_natively(pthread_mutex_t* mutex, Deadline deadline) noexcept {
  int result = EBUSY;
  while ((result = try_lock(mutex)) == EBUSY && !deadline.passed()) {
    const timespec moment = loop::to_timespec(kShortestSleepNs);
    libc::nanosleep(&moment, nullptr);
  }
  return result == EBUSY ? ETIMEDOUT : result;
}

// With the GIL held, too: a request that waits for another's mutex with the GIL in hand lets others run
// Python, which no thread would, but the holder could not go on otherwise.
int lock_until(pthread_mutex_t* mutex, Deadline deadline) noexcept {
  int result = try_lock(mutex);
  if (result != EBUSY) return result;
  if (is_own_error(*mutex)) return EDEADLK;
  if ((result = try_a_moment(mutex)) != EBUSY) return result;
  LockWaiter who = LockWaiter::where_allowed();
  if (!who && held_by_fiber(mutex) && !(who = LockWaiter::where_possible())) give_up();
  if (!who) return natively(mutex_tally, [=] { return lock_natively(mutex, deadline); });
  const Woken woken =
      wait_to_take(who, mutex, deadline, mutex_tally, Changes::kPerhapsUnseen, Abort::kNever, [&] {
        result = try_lock(mutex);
        return result != EBUSY;
      });
  return woken == Woken::kPosted ? result : ETIMEDOUT;
}

int suspending_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* until) noexcept {
  const auto deadline = deadline_of(clock, until);
  if (!on_loop_thread() || !deadline) return libc::pthread_mutex_clocklock(mutex, clock, until);
  return lock_until(mutex, *deadline);
}

// What a fiber holds is its own to unlock; of those that the kernel knows, the OS thread's.
int unlock_as_holder(pthread_mutex_t* mutex) noexcept {
  if (!on_loop_thread() || !kernel_knows_holder(*mutex)) return libc::pthread_mutex_unlock(mutex);
  HeldAsOsThread& held = held_as_os_thread();
  if (held.another_holds(mutex)) return EPERM;
  held.unlocked(mutex);
  const suspend::AsOsThread holder;
  return libc::pthread_mutex_unlock(mutex);
}

}  // namespace

int suspending_mutex_lock(pthread_mutex_t* mutex) noexcept {
  return on_loop_thread() ? lock_until(mutex, Deadline::never()) : libc::pthread_mutex_lock(mutex);
}

int suspending_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept {
  const auto deadline = deadline_of(CLOCK_REALTIME, until);
  if (!on_loop_thread() || !deadline) return libc::pthread_mutex_timedlock(mutex, until);
  return lock_until(mutex, *deadline);
}

int knowing_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  return on_loop_thread() ? try_lock(mutex) : libc::pthread_mutex_trylock(mutex);
}

int waking_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  const int result = unlock_as_holder(mutex);
  // `mutex` may be gone by now: from here on it is a name only.
  if (result == 0) AddressWaiters::all().changed(mutex);
  return result;
}

std::vector<Call> mutex_calls() {
  // Not libpython's: those are the GIL's.
  return {
      {"pthread_mutex_lock", address_of(suspending_mutex_lock), Scope::kAnyLibrary},
      {"pthread_mutex_trylock", address_of(knowing_mutex_trylock), Scope::kAnyLibrary},
      {"pthread_mutex_timedlock", address_of(suspending_mutex_timedlock), Scope::kAnyLibrary},
      {"pthread_mutex_clocklock", address_of(suspending_mutex_clocklock), Scope::kAnyLibrary},
      {"pthread_mutex_unlock", address_of(waking_mutex_unlock), Scope::kAnyLibrary},
  };
}

}  // namespace blocking
