#include "plugin/blocking/lock_calls.h"

#include <semaphore.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/identity.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/wait.h"
#include "suspend/baton.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally lock_tally("lock");

// One wait for a semaphore.
struct Waiter {
  suspend::Baton* baton;  // Null: the loop waits, turning.
  bool queued = false;    // Under the lobby's mutex, as the next.
  bool woken = false;
};

// Where fibers wait for semaphores. The kernel's futex does not know fibers, so a post
// asks here whether one waits. Posts come from any thread; waiting, from the loop's.
class Lobby {
 public:
  // Any thread. One load when nobody waits for any semaphore.
  //
  // No wake-up is lost: a waiter is counted before it tries the semaphore a last time,
  // a post raises the semaphore before it reads the count, and both are sequentially
  // consistent, so one of the two sees the other.
  void posted(sem_t* semaphore) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (waiting_.load(std::memory_order_seq_cst) == 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_first(semaphore);
  }

  void enter(sem_t* semaphore, Waiter& waiter) {
    const std::lock_guard<std::mutex> lock(mutex_);
    queues_[semaphore].push_back(&waiter);
    waiter.queued = true;
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }

  // Takes a waiter out, woken or not. A wake-up that came before it `waited` goes to the next.
  void leave(sem_t* semaphore, Waiter& waiter, bool waited) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    if (waiter.woken && !waited) wake_first(semaphore);
    if (!waiter.queued) return;
    const auto queue = queues_.find(semaphore);
    queue->second.remove(&waiter);
    if (queue->second.empty()) queues_.erase(queue);
  }

  int waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }

 private:
  void wake_first(sem_t* semaphore) noexcept {
    const auto queue = queues_.find(semaphore);
    if (queue == queues_.end()) return;
    for (bool woken = false; !woken && !queue->second.empty();) {
      Waiter& first = *queue->second.front();
      queue->second.pop_front();
      first.queued = false;
      woken = first.woken = wake(first);
    }
    if (queue->second.empty()) queues_.erase(queue);
  }

  // False where its wait has ended otherwise. It goes on in the next turn, or two fibers that pass a lock to
  // and fro would keep the loop from everything else.
  static bool wake(Waiter& waiter) noexcept {
    if (waiter.baton != nullptr) return on_loop_thread() ? waiter.baton->post_next_turn() : waiter.baton->post_soon();
    end_turn();
    return true;
  }

  std::mutex mutex_;
  std::unordered_map<sem_t*, std::list<Waiter*>> queues_;
  std::atomic<int> waiting_{0};
};

Lobby& lobby() noexcept {
  static Lobby* const forever = new Lobby;  // Other threads post until the process ends.
  return *forever;
}

// Who posts a semaphore. CPython's own locks are posted by CPython. One of another module may be posted
// by another process (multiprocessing) or a library that is left alone: it is looked at now and then.
enum class Posts { kSeen, kPerhapsUnseen };
constexpr double kFirstLookS = 0.001;
constexpr double kSlowestLookS = 0.02;

// How long a fiber that has been interrupted may still wait for a lock: who cleans up after the
// exception takes locks (a pool's, a log's), and they are free in a moment.
constexpr double kLastPatienceS = 1;

// One wait for a semaphore that was found taken. The loop's own code waits for what a suspended request
// holds: it lets the requests run on.
Woken wait_once(suspend::Baton* baton, Deadline until) noexcept {
  if (baton != nullptr) {
    ++lock_tally.suspended;
    return wait(*baton, until);
  }
  turn(until);
  return until.passed() ? Woken::kTimedOut : Woken::kPosted;
}

// Takes the semaphore; the loop waits where `fiber` is null. False with ETIMEDOUT or EINTR.
bool take(Fiber* fiber, sem_t* semaphore, Deadline deadline, Posts posts, Abort abort) {
  for (double look_s = kFirstLookS;; look_s = std::min(2 * look_s, kSlowestLookS)) {
    const bool unseen = posts == Posts::kPerhapsUnseen;
    std::optional<suspend::Baton> baton;
    if (fiber != nullptr) baton.emplace(*fiber, lock_tally.name, abort);
    Waiter waiter{fiber == nullptr ? nullptr : &*baton};
    lobby().enter(semaphore, waiter);
    bool taken = sem_trywait(semaphore) == 0;
    Woken woken = Woken::kNotYet;
    if (!taken) {
      woken = wait_once(waiter.baton, unseen ? deadline.sooner(Deadline::after(look_s)) : deadline);
      taken = sem_trywait(semaphore) == 0;
    }
    lobby().leave(semaphore, waiter, woken != Woken::kNotYet);
    if (taken) return true;
    const bool timed_out = woken == Woken::kTimedOut && (!unseen || deadline.passed());
    if (!timed_out && woken != Woken::kInterrupted) continue;
    errno = timed_out ? ETIMEDOUT : EINTR;
    return false;
  }
}

// Who may wait here without stopping the thread.
struct MayWait {
  // Who was told of an interruption and tries again did not look.
  MayWait() noexcept { show_loop_thread(false); }

  Fiber* const fiber = may_suspend();
  const bool loop = fiber == nullptr && gate() != nullptr && gate()->may_turn();

  explicit operator bool() const noexcept { return fiber != nullptr || loop; }
};

// An interruption of CPython's own is EINTR, which it answers by looking for a signal: it finds the
// exception there. Others are told as by any call (interruption.h).
bool take(const MayWait& who, sem_t* semaphore, Deadline deadline, Posts posts) {
  if (who.fiber == nullptr) return take(nullptr, semaphore, deadline, posts, Abort::kNever);
  Fiber& fiber = *who.fiber;
  const bool was_interrupted = fiber.interrupt().in_force() && fiber.interrupt().met();
  const Deadline patience = was_interrupted ? deadline.sooner(Deadline::after(kLastPatienceS)) : deadline;
  if (take(&fiber, semaphore, patience, posts, was_interrupted ? Abort::kNever : Abort::kAllowed)) return true;
  if (was_interrupted && !deadline.passed()) errno = EINTR;
  if (errno != EINTR) return false;
  if (posts == Posts::kSeen) gate()->lock_wait_interrupted(fiber);
  else errno = kInterruptedErrno;
  return false;
}

template <Posts posts>
int suspending_sem_wait(sem_t* semaphore) noexcept {
  const MayWait who;
  if (!who) return natively(lock_tally, [&] { return real::sem_wait(semaphore); });
  if (sem_trywait(semaphore) == 0) return 0;
  return take(who, semaphore, Deadline::never(), posts) ? 0 : -1;
}

template <Posts posts>
int suspending_sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* until) noexcept {
  const MayWait who;
  timespec now;
  const bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
  const bool valid = known && until->tv_nsec >= 0 && until->tv_nsec < 1000000000L && clock_gettime(clock, &now) == 0;
  if (!who || !valid) return natively(lock_tally, [&] { return real::sem_clockwait(semaphore, clock, until); });
  if (sem_trywait(semaphore) == 0) return 0;
  const double left_s = static_cast<double>(until->tv_sec - now.tv_sec) +
                        static_cast<double>(until->tv_nsec - now.tv_nsec) * 1e-9;
  return take(who, semaphore, Deadline::after(left_s), posts) ? 0 : -1;
}

template <Posts posts>
int suspending_sem_timedwait(sem_t* semaphore, const timespec* until) noexcept {
  return suspending_sem_clockwait<posts>(semaphore, CLOCK_REALTIME, until);
}

int waking_sem_post(sem_t* semaphore) noexcept {
  const int result = real::sem_post(semaphore);
  // `semaphore` may be gone by now: from here on it is a name only.
  if (gate() != nullptr) lobby().posted(semaphore);
  return result;
}

}  // namespace

std::vector<Call> lock_calls() {
  return {
      {"sem_wait", keeping_errno<suspending_sem_wait<Posts::kSeen>>(), Scope::kLibpythonOnly},
      {"sem_timedwait", keeping_errno<suspending_sem_timedwait<Posts::kSeen>>(), Scope::kLibpythonOnly},
      {"sem_clockwait", keeping_errno<suspending_sem_clockwait<Posts::kSeen>>(), Scope::kLibpythonOnly},
      {"sem_wait", keeping_errno<suspending_sem_wait<Posts::kPerhapsUnseen>>(), Scope::kNotLibpython},
      {"sem_timedwait", keeping_errno<suspending_sem_timedwait<Posts::kPerhapsUnseen>>(), Scope::kNotLibpython},
      {"sem_clockwait", keeping_errno<suspending_sem_clockwait<Posts::kPerhapsUnseen>>(), Scope::kNotLibpython},
      {"sem_post", keeping_errno<waking_sem_post>()},
  };
}

int fibers_waiting_for_locks() noexcept { return lobby().waiting(); }

}  // namespace blocking
