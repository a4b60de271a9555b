#include "plugin/blocking/mutex_calls.h"

#include <pthread.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <list>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/wait.h"

// A C library may keep a mutex of its own while it waits: psycopg2 holds the connection's
// during a query, SQLite the connection's during a busy timeout. To the kernel all fibers
// are one thread. The second to come would stop that thread for ever, or, the mutex being
// recursive, walk in. So who holds what is known here per fiber, and the second is suspended.
//
// Only what runs on the loop's thread is listed. Other threads meet the real mutex, which
// is locked as always.

namespace blocking {
namespace {

using suspend::Fiber;

Tally mutex_tally("pthread_mutex_lock");

struct Held {
  pthread_mutex_t* mutex;
  const Fiber* holder;  // Null: the loop itself.
};

struct Waiter {
  pthread_mutex_t* mutex;
  suspend::Baton* baton;
};

// The loop's thread only.
class MutexTable {
 public:
  bool another_holds(pthread_mutex_t* mutex) const noexcept {
    const Fiber* const self = Fiber::current();
    return std::any_of(held_.begin(), held_.end(), [=](const Held& held) {
      return held.mutex == mutex && held.holder != self;
    });
  }

  void locked(pthread_mutex_t* mutex) { held_.push_back({mutex, Fiber::current()}); }

  // Mutexes are unlocked in the reverse order as a rule, so the last one is the first to try.
  void unlocked(pthread_mutex_t* mutex) noexcept {
    const Fiber* const self = Fiber::current();
    const auto last = std::find_if(held_.rbegin(), held_.rend(), [=](const Held& held) {
      return held.mutex == mutex && held.holder == self;
    });
    if (last == held_.rend()) return;  // Locked before the worker began to serve.
    held_.erase(std::next(last).base());
    if (loop_waits_ > 0) end_turn();
    if (!waiters_.empty()) wake_first(mutex);
  }

  // Turns the loop until no fiber holds the mutex. False where it may not turn.
  bool wait_turning(pthread_mutex_t* mutex) noexcept {
    while (another_holds(mutex)) {
      if (!gate()->can_turn()) return false;
      ++loop_waits_;
      turn(Deadline::never());
      --loop_waits_;
    }
    return true;
  }

  // Suspends `fiber` until no other fiber holds the mutex.
  void wait(Fiber& fiber, pthread_mutex_t* mutex) {
    for (bool overtaken = false; another_holds(mutex); overtaken = true) {
      suspend::Baton baton(fiber, mutex_tally.name, Abort::kNever);
      // Overtaken while it was on its way it keeps its place.
      waiters_.insert(overtaken ? waiters_.begin() : waiters_.end(), {mutex, &baton});
      ++mutex_tally.suspended;
      blocking::wait(baton);
    }
  }

 private:
  // A recursive mutex may still be held; the one woken looks again.
  void wake_first(pthread_mutex_t* mutex) noexcept {
    const auto first = std::find_if(waiters_.begin(), waiters_.end(),
                                    [=](const Waiter& waiter) { return waiter.mutex == mutex; });
    if (first == waiters_.end()) return;
    first->baton->post_next_turn();
    waiters_.erase(first);
  }

  std::vector<Held> held_;  // Those of suspended fibers, and a few of the one that runs.
  int loop_waits_ = 0;
  std::list<Waiter> waiters_;
};

MutexTable& table() noexcept {
  static MutexTable* const forever = new MutexTable;  // Libraries lock until the process ends.
  return *forever;
}

bool is_locked_by(int result) noexcept { return result == 0 || result == EOWNERDEAD; }

// What the kernel has been told is that this thread holds the mutex, so to ask it would stop
// the thread for good or, the mutex being recursive, let a second request in.
[[noreturn]] void give_up() noexcept {
  static const char reason[] =
      "tornado: a request that must not be suspended needs a mutex of a C library that a suspended request holds: "
      "this worker could never go on\n";
  (void)!real::write(STDERR_FILENO, reason, sizeof reason - 1);
  std::abort();
}

// Returns once no other fiber holds the mutex. With the GIL held, too: a request that waits for
// another's mutex with the GIL in hand lets others run Python, which no thread would, but the
// holder could not go on otherwise.
void wait_for_holder(pthread_mutex_t* mutex) noexcept {
  if (!table().another_holds(mutex)) return;
  if (Fiber* const fiber = gate()->can_suspend()) {
    table().wait(*fiber, mutex);
  } else if (!table().wait_turning(mutex)) {
    give_up();
  }
  assert(!table().another_holds(mutex));
}

// The kernel itself knows who holds a robust mutex, or one that inherits priorities: by the number of
// the OS thread, which a fiber does not have.
bool kernel_knows_holder(const pthread_mutex_t& mutex) noexcept {
  constexpr int kRobust = 16, kInheritsPriority = 32;  // Bits of libc's kind of a mutex.
  return (mutex.__data.__kind & (kRobust | kInheritsPriority)) != 0;
}

template <typename Call>
int as_holder(pthread_mutex_t* mutex, Call call) noexcept {
  if (!kernel_knows_holder(*mutex)) return call(mutex);
  const suspend::AsOsThread holder;
  return call(mutex);
}

// Past the wait, who holds it is another thread, or this very fiber.
int suspending_mutex_lock(pthread_mutex_t* mutex) noexcept {
  if (!on_loop_thread()) return real::pthread_mutex_lock(mutex);
  wait_for_holder(mutex);
  int result = as_holder(mutex, real::pthread_mutex_trylock);
  if (result == EBUSY) result = natively(mutex_tally, [=] { return as_holder(mutex, real::pthread_mutex_lock); });
  if (is_locked_by(result)) table().locked(mutex);
  return result;
}

int knowing_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  if (!on_loop_thread()) return real::pthread_mutex_trylock(mutex);
  if (table().another_holds(mutex)) return EBUSY;
  const int result = as_holder(mutex, real::pthread_mutex_trylock);
  if (is_locked_by(result)) table().locked(mutex);
  return result;
}

int waking_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  if (!on_loop_thread()) return real::pthread_mutex_unlock(mutex);
  const int result = as_holder(mutex, real::pthread_mutex_unlock);
  if (result == 0) table().unlocked(mutex);
  return result;
}

}  // namespace

std::vector<Call> mutex_calls() {
  // Not libpython's: those are the GIL's.
  return {
      {"pthread_mutex_lock", address_of(suspending_mutex_lock), Scope::kAnyLibrary},
      {"pthread_mutex_trylock", address_of(knowing_mutex_trylock), Scope::kAnyLibrary},
      {"pthread_mutex_unlock", address_of(waking_mutex_unlock), Scope::kAnyLibrary},
  };
}

}  // namespace blocking
