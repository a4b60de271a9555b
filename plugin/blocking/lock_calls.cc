#include "plugin/blocking/lock_calls.h"

#include <semaphore.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <list>
#include <mutex>
#include <unordered_map>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/identity.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/wait.h"
#include "plugin/loop/fd_wait.h"
#include "suspend/waiting.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally lock_tally("lock");

// Who waits for a semaphore: a fiber, or the loop itself. Lives on the waiting stack.
struct Waiter {
  Fiber* fiber;         // Null: the loop waits, turning.
  bool listed = false;  // In a queue of the lobby or among its woken. Under the lobby's mutex.

  void wake() noexcept {
    if (fiber != nullptr) fiber->resume();
  }
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
    if (waiting_.load(std::memory_order_seq_cst) != 0) wake_first(semaphore);
  }

  void enter(sem_t* semaphore, Waiter& waiter) {
    const std::lock_guard<std::mutex> lock(mutex_);
    assert(!waiter.listed);
    queues_[semaphore].push_back(&waiter);
    waiter.listed = true;
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }

  // Takes a waiter out, woken or not. A wake-up it had but did not use goes to the next.
  void leave(sem_t* semaphore, Waiter& waiter) noexcept {
    bool handed_on = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (waiter.listed) {
        handed_on = !remove_from_queue(semaphore, waiter);
        if (handed_on) woken_.remove(&waiter);
        waiter.listed = false;
      }
      waiting_.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (handed_on) wake_first(semaphore);
  }

  int waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }

 private:
  void wake_first(sem_t* semaphore) noexcept {
    bool tell_loop = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto queue = queues_.find(semaphore);
      if (queue == queues_.end()) return;
      Waiter* first = queue->second.front();
      queue->second.pop_front();
      if (queue->second.empty()) queues_.erase(queue);
      tell_loop = woken_.empty();
      woken_.push_back(first);
    }
    if (!tell_loop) return;
    const loop::Callback resume{[](void* self) noexcept { static_cast<Lobby*>(self)->resume_woken(); },
                                this};
    if (on_loop_thread()) gate_loop().add_callback(resume);
    else post_to_loop(resume);
  }

  void resume_woken() noexcept {
    // Those woken meanwhile wait for the next turn, or two fibers that pass a lock to
    // and fro would keep the loop from everything else.
    std::size_t count;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      count = woken_.size();
    }
    while (count-- > 0) {
      Waiter* next;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (woken_.empty()) return;
        next = woken_.front();
        woken_.pop_front();
        next->listed = false;
        if (count == 0 && !woken_.empty()) {
          gate_loop().add_callback(
              {[](void* self) noexcept { static_cast<Lobby*>(self)->resume_woken(); }, this});
        }
      }
      next->wake();
    }
  }

  bool remove_from_queue(sem_t* semaphore, Waiter& waiter) noexcept {
    const auto queue = queues_.find(semaphore);
    if (queue == queues_.end()) return false;
    const std::size_t before = queue->second.size();
    queue->second.remove(&waiter);
    const bool removed = queue->second.size() != before;
    if (queue->second.empty()) queues_.erase(queue);
    return removed;
  }

  std::mutex mutex_;
  std::unordered_map<sem_t*, std::list<Waiter*>> queues_;
  std::list<Waiter*> woken_;  // Taken from a queue, not yet resumed.
  std::atomic<int> waiting_{0};
};

Lobby& lobby() noexcept {
  static Lobby* const forever = new Lobby;  // Other threads post until the process ends.
  return *forever;
}

// A timer that only has to be there: who set it looks at timed_out().
loop::Callback just_wake(Fiber* fiber) noexcept {
  if (fiber != nullptr) return resumes(*fiber);
  return {[](void*) noexcept {}, nullptr};
}

// Who posts a semaphore. CPython's own locks are posted by CPython. One of another module may be posted
// by another process (multiprocessing) or a library that is left alone: it is looked at now and then.
enum class Posts { kSeen, kPerhapsUnseen };
constexpr double kFirstLookS = 0.001;
constexpr double kSlowestLookS = 0.02;

// How long a fiber that has been interrupted may still wait for a lock: who cleans up after the
// exception takes locks (a pool's, a log's), and they are free in a moment.
constexpr double kLastPatienceS = 1;

// Takes the semaphore; let_others_run() is called until it can be had, or says that it is to be had no
// more. False with ETIMEDOUT or EINTR.
template <typename LetOthersRun>
bool take(Fiber* fiber, sem_t* semaphore, Deadline deadline, Posts posts, LetOthersRun let_others_run) {
  Waiter waiter{fiber};
  for (double look_s = kFirstLookS;; look_s = std::min(2 * look_s, kSlowestLookS)) {
    const bool unseen = posts == Posts::kPerhapsUnseen;
    const Deadline until = unseen ? deadline.sooner(Deadline::after(look_s)) : deadline;
    lobby().enter(semaphore, waiter);
    bool taken = sem_trywait(semaphore) == 0;
    bool timed_out = false;
    bool go_on = true;
    if (!taken) {
      loop::FdWait timer(gate_loop(), just_wake(fiber));
      if (!until.is_never()) timer.start(until.left_s());
      go_on = let_others_run();
      timed_out = timer.timed_out() && (!unseen || deadline.passed());
      taken = sem_trywait(semaphore) == 0;
    }
    lobby().leave(semaphore, waiter);
    if (taken) return true;
    if (timed_out || !go_on) {
      errno = timed_out ? ETIMEDOUT : EINTR;
      return false;
    }
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
bool take(Fiber& fiber, sem_t* semaphore, Deadline deadline, Posts posts) {
  const bool was_interrupted = fiber.interrupted() && fiber.interrupt_met();
  const Deadline patience =
      was_interrupted ? deadline.sooner(Deadline::after(kLastPatienceS)) : deadline;
  const bool taken = take(&fiber, semaphore, patience, posts, [&] {
    ++lock_tally.suspended;
    const suspend::ResumedEarly waiting(fiber, lock_tally.name);
    if (was_interrupted || !waiting.interrupted()) park(fiber);
    return was_interrupted || !waiting.interrupted();
  });
  if (taken) return true;
  if (was_interrupted && !deadline.passed()) errno = EINTR;
  if (errno != EINTR) return false;
  if (posts == Posts::kSeen) gate()->lock_wait_interrupted(fiber);
  else errno = kInterruptedErrno;
  return false;
}

bool take(const MayWait& who, sem_t* semaphore, Deadline deadline, Posts posts) {
  if (who.fiber != nullptr) return take(*who.fiber, semaphore, deadline, posts);
  // A suspended request holds what the loop's own code needs: let the requests run on.
  return take(nullptr, semaphore, deadline, posts, [] {
    gate()->turn();
    return true;
  });
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
