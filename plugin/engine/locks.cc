// uWSGI's locks, taken by requests.
#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/wait.h"
#include "plugin/engine/engine.h"
#include "plugin/engine/hooks.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

// What uWSGI itself does: stops the OS thread until the lock is free.
uwsgi_lock_ops blocking_ops;

// --- Taking a lock of each kind that is free -----------------------------------------------

// What a lock is taken for. A mutex is taken once; the holder of a read-write lock may take it again.
enum class Use { kMutex, kRead, kWrite };

// False where the lock is taken. Any other failure is ignored, as uWSGI ignores it.
using Try = bool (*)(uwsgi_lock_item*);

bool try_mutex(uwsgi_lock_item* item) noexcept {
  auto* const mutex = static_cast<pthread_mutex_t*>(item->lock_ptr);
  const int status = pthread_mutex_trylock(mutex);
  if (status == EBUSY) return false;
  if (status == EOWNERDEAD) {
    uwsgi_log("[deadlock-detector] a process holding a robust mutex died. recovering...\n");
    pthread_mutex_consistent(mutex);
  }
  item->pid = uwsgi.mypid;
  return true;
}

bool try_reading(uwsgi_lock_item* item) noexcept {
  const int status = pthread_rwlock_tryrdlock(static_cast<pthread_rwlock_t*>(item->lock_ptr));
  if (status == EBUSY || status == EAGAIN) return false;
  item->pid = uwsgi.mypid;
  return true;
}

bool try_writing(uwsgi_lock_item* item) noexcept {
  if (pthread_rwlock_trywrlock(static_cast<pthread_rwlock_t*>(item->lock_ptr)) == EBUSY) return false;
  item->pid = uwsgi.mypid;
  return true;
}

// --lock-engine ipcsem: a semaphore is all these locks are, for readers too.
bool try_semaphore(uwsgi_lock_item* item) noexcept {
  int id;
  std::memcpy(&id, item->lock_ptr, sizeof id);
  sembuf down{0, -1, SEM_UNDO | IPC_NOWAIT};
  return semop(id, &down, 1) == 0 || (errno != EAGAIN && errno != EINTR);
}

// A lock is the worker's, whichever request has it: libc and the kernel know its holder by the OS thread.
bool take_for_worker(uwsgi_lock_item* item, Try take) noexcept {
  const suspend::AsOsThread worker;
  return take(item);
}

void do_for_worker(uwsgi_lock_item* item, void (*operation)(uwsgi_lock_item*)) noexcept {
  const suspend::AsOsThread worker;
  operation(item);
}

// --- The locks of one worker ---------------------------------------------------------------

// How long to look for a lock without giving way: uWSGI's own sections under one are shorter.
constexpr int kLooks = 50;

// The time between two tries for a lock that another process holds: at first and at most.
constexpr double kShortRestS = 0.0002;
constexpr double kLongRestS = 0.005;

// A request, or null for the loop itself, that waits for its turn to take a lock.
class Waiter {
 public:
  explicit Waiter(RequestThread* thread) noexcept : thread_(thread) {}

  // Until wake(), or the deadline.
  void wait(loop::Deadline deadline) noexcept {
    if (thread_ == nullptr) {
      blocking::turn(deadline);
      return;
    }
    suspend::Baton baton(thread_->fiber(), "uwsgi.lock", suspend::Abort::kNever);
    baton_ = &baton;
    blocking::wait(baton, deadline);
    baton_ = nullptr;
  }

  void wake() noexcept {
    if (thread_ == nullptr) blocking::end_turn();
    else if (baton_ != nullptr) baton_->post_next_turn();
  }

 private:
  RequestThread* const thread_;
  suspend::Baton* baton_ = nullptr;
};

// Which fiber holds which lock, and which waits for it. The loop's thread only. To the locks themselves all
// its requests are one, so a lock that several of them read is locked only once, because uWSGI's master
// unlocks each lock of a dead process only once.
class Locks {
 public:
  // False if the lock is taken, or others wait for it. `thread` is null on the loop's own stack. As in glibc,
  // a reader does not queue behind writers. The holder of a read-write lock may take it again:
  // uwsgi.sharedarea_write() after uwsgi.sharedarea_wlock().
  bool take_at_once(uwsgi_lock_item* item, RequestThread* thread, Try take, Use use) noexcept {
    if (use != Use::kMutex && take_again(item, thread, use)) return true;
    if ((use != Use::kRead && is_waited_for(item)) || !take_now(item, take, use)) return false;
    note(item, thread, use);
    return true;
  }

  // Suspends `thread` until it has the lock; the loop turns meanwhile where it is null.
  void wait_and_take(uwsgi_lock_item* item, RequestThread* thread, Try take, Use use) noexcept {
    if (!take_soon(item, take)) wait(item, thread, take, use);
    note(item, thread, use);
  }

  // As with uWSGI, anyone may unlock; a request's own lock goes first.
  void unlock(uwsgi_lock_item* item, RequestThread* thread, void (*release)(uwsgi_lock_item*)) noexcept {
    auto held = find(item, thread);
    if (held == held_.end()) {
      held = std::find_if(held_.begin(), held_.end(), [=](const Held& any) { return any.item == item; });
    }
    if (held != held_.end()) {
      if (--held->depth > 0) return;
      held_.erase(held);
      if (is_held(item)) return;  // Others read on.
    }
    do_for_worker(item, release);
    wake_first(item);
  }

  // `thread` has the lock.
  void note(uwsgi_lock_item* item, RequestThread* thread, Use use) noexcept {
    held_.push_back({item, thread, use, 1});
  }

  bool is_held(const uwsgi_lock_item* item) const noexcept {
    return std::any_of(held_.begin(), held_.end(), [=](const Held& held) { return held.item == item; });
  }

 private:
  struct Held {
    uwsgi_lock_item* item;
    RequestThread* holder;
    Use use;
    int depth;
  };
  using Queue = std::list<Waiter*>;

  std::vector<Held>::iterator find(const uwsgi_lock_item* item, const RequestThread* thread) noexcept {
    return std::find_if(held_.begin(), held_.end(),
                        [=](const Held& held) { return held.item == item && held.holder == thread; });
  }

  bool take_again(const uwsgi_lock_item* item, const RequestThread* thread, Use use) noexcept {
    const auto held = find(item, thread);
    if (held == held_.end() || (use == Use::kWrite && held->use == Use::kRead)) return false;
    ++held->depth;
    return true;
  }

  bool take_now(uwsgi_lock_item* item, Try take, Use use) const noexcept {
    return (use == Use::kRead && is_read(item)) || take_for_worker(item, take);
  }

  bool is_read(const uwsgi_lock_item* item) const noexcept {
    return std::any_of(held_.begin(), held_.end(),
                       [=](const Held& held) { return held.item == item && held.use == Use::kRead; });
  }

  bool is_waited_for(uwsgi_lock_item* item) const noexcept {
    return !queues_.empty() && queues_.find(item) != queues_.end();
  }

  void wake_first(uwsgi_lock_item* item) noexcept {
    if (queues_.empty()) return;
    const auto queue = queues_.find(item);
    if (queue != queues_.end()) queue->second.front()->wake();
  }

  bool take_soon(uwsgi_lock_item* item, Try take) const noexcept {
    if (is_held(item) || is_waited_for(item)) return false;
    for (int i = 0; i < kLooks; ++i) {
      if (take_for_worker(item, take)) return true;
      sched_yield();
    }
    return false;
  }

  void wait(uwsgi_lock_item* item, RequestThread* thread, Try take, Use use) noexcept {
    Waiter waiter(thread);
    Queue& queue = queues_[item];
    // Nobody else's callbacks run while the loop itself waits.
    const auto place = queue.insert(thread == nullptr ? queue.begin() : queue.end(), &waiter);
    double rest_s = kShortRestS;
    for (;;) {
      const bool is_first = queue.front() == &waiter;
      // The holder in this worker wakes the first fiber, which wakes the next.
      waiter.wait(!is_first || is_held(item) ? loop::Deadline::never() : loop::Deadline::after(rest_s));
      if ((use == Use::kRead || queue.front() == &waiter) && take_now(item, take, use)) break;
      rest_s = std::min(2 * rest_s, kLongRestS);
    }
    queue.erase(place);
    if (queue.empty()) queues_.erase(item);
    else if (use == Use::kRead) queue.front()->wake();
  }

  std::vector<Held> held_;
  std::unordered_map<uwsgi_lock_item*, Queue> queues_;
};

Locks& locks() noexcept {
  static Locks* const forever = new Locks;  // Used until the process ends.
  return *forever;
}

// --- uWSGI's operations --------------------------------------------------------------------

Try take_mutex = try_mutex;
Try take_to_read = try_reading;
Try take_to_write = try_writing;

bool is_our_thread() noexcept {
  return blocking::on_loop_thread() && blocking::gate() != nullptr && Engine::instance() != nullptr;
}

bool may_wait(RequestThread* thread) noexcept {
  return thread != nullptr ? thread->may_suspend() : blocking::gate()->can_turn();
}

// The thread stops until the lock is free; for good, if only this thread can free it.
void stop_for(uwsgi_lock_item* item, void (*block)(uwsgi_lock_item*)) noexcept {
  if (locks().is_held(item)) {
    uwsgi_log(
        "tornado: worker %d is deadlocked: inside no_suspend(), a request waits for a uWSGI lock (%s) that "
        "another request of this worker holds\n",
        uwsgi.mywid, item->id);
  }
  do_for_worker(item, block);
}

void lock(uwsgi_lock_item* item, Try take, Use use, void (*block)(uwsgi_lock_item*)) noexcept {
  if (!is_our_thread()) {
    block(item);
    return;
  }
  RequestThread* const thread = RequestThread::current();
  if (locks().take_at_once(item, thread, take, use)) return;
  if (may_wait(thread)) {
    locks().wait_and_take(item, thread, take, use);
  } else {
    stop_for(item, block);
    locks().note(item, thread, use);
  }
}

void unlock(uwsgi_lock_item* item, void (*release)(uwsgi_lock_item*)) noexcept {
  if (is_our_thread()) locks().unlock(item, RequestThread::current(), release);
  else release(item);
}

extern "C" {

static void tornado_lock(uwsgi_lock_item* item) { lock(item, take_mutex, Use::kMutex, blocking_ops.lock); }
static void tornado_rlock(uwsgi_lock_item* item) { lock(item, take_to_read, Use::kRead, blocking_ops.rlock); }
static void tornado_wlock(uwsgi_lock_item* item) {
  lock(item, take_to_write, Use::kWrite, blocking_ops.wlock);
}
static void tornado_unlock(uwsgi_lock_item* item) { unlock(item, blocking_ops.unlock); }
static void tornado_rwunlock(uwsgi_lock_item* item) { unlock(item, blocking_ops.rwunlock); }

}  // extern "C"

}  // namespace

void install_locks() noexcept {
  blocking_ops = uwsgi.lock_ops;
  if (uwsgi.lock_engine != nullptr) {  // There is one other.
    take_mutex = take_to_read = take_to_write = try_semaphore;
  } else {
#ifndef UWSGI_LOCK_USE_MUTEX
    return;
#endif
  }
  uwsgi.lock_ops.lock = tornado_lock;
  uwsgi.lock_ops.rlock = tornado_rlock;
  uwsgi.lock_ops.wlock = tornado_wlock;
  uwsgi.lock_ops.unlock = tornado_unlock;
  uwsgi.lock_ops.rwunlock = tornado_rwunlock;
}

}  // namespace engine
