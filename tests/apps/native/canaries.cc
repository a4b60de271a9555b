// Long: the table at its end names them all, and each library made of it is one compilation.
// Canaries in C++: every kind of thread-local, and every lock of the standard library and of POSIX.
#include "canaries.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <locale.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <set>
#include <shared_mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr long kWrong = -1;

// --- Thread-locals ----------------------------------------------------------------------------

std::mutex ends_lock;
std::vector<long> ends;
std::atomic<int> ends_fd{-1};

// Called by a destructor: `own` and `thread` are what its data held.
void note_end(long own, pthread_t thread) {
  if (own == 0) return;
  if (!pthread_equal(thread, pthread_self())) own = -own;
  if (int fd = ends_fd; fd >= 0) dprintf(fd, "ended %ld\n", own);
  std::lock_guard guard(ends_lock);
  ends.push_back(own);
}

// A thread's data, which remembers its thread: what an earlier request of the same thread left is no other's.
struct Kept {
  long own = 0;
  pthread_t thread = 0;

  long hold(long mine, Wait wait) {
    if (own != 0 && !pthread_equal(thread, pthread_self())) return kWrong;
    own = mine;
    thread = pthread_self();
    wait();
    return pthread_equal(thread, pthread_self()) ? own : kWrong;
  }
};

struct Ended : Kept {
  Ended() {}  // Not trivial: made at the first use in each thread.
  ~Ended() { note_end(own, thread); }
};

#define TLS_MODEL(model) __attribute__((tls_model(model)))

thread_local Ended constructed;
TLS_MODEL("global-dynamic") thread_local Kept global_dynamic;
TLS_MODEL("local-dynamic") static __thread Kept local_dynamic;
TLS_MODEL("initial-exec") static __thread Kept initial_exec;

long local_constructed(long own, Wait wait) { return constructed.hold(own, wait); }
long local_global_dynamic(long own, Wait wait) { return global_dynamic.hold(own, wait); }
long local_local_dynamic(long own, Wait wait) { return local_dynamic.hold(own, wait); }
long local_initial_exec(long own, Wait wait) { return initial_exec.hold(own, wait); }

long local_in_function(long own, Wait wait) {
  thread_local Ended kept;
  return kept.hold(own, wait);
}

// Its address is taken before the wait and used after it, as a queue of waiting threads does.
long local_address(long own, Wait wait) {
  Kept* before = &global_dynamic;
  wait();
  return before == &global_dynamic ? own : kWrong;
}

long local_key(long own, Wait wait) {
  static const pthread_key_t key = [] {
    pthread_key_t made;
    pthread_key_create(&made, [](void* data) { delete static_cast<Ended*>(data); });
    return made;
  }();
  if (pthread_getspecific(key) == nullptr) pthread_setspecific(key, new Ended);
  long held = static_cast<Ended*>(pthread_getspecific(key))->hold(own, wait);
  return static_cast<Ended*>(pthread_getspecific(key))->own == own ? held : kWrong;
}

long local_key_of_c11(long own, Wait wait) {
  static const tss_t key = [] {
    tss_t made;
    tss_create(&made, nullptr);
    return made;
  }();
  tss_set(key, reinterpret_cast<void*>(own));
  wait();
  return reinterpret_cast<long>(tss_get(key));
}

long local_c_locale(long own, Wait wait) {
  locale_t mine = newlocale(LC_ALL_MASK, "C", nullptr);
  locale_t before = uselocale(mine);
  wait();
  bool right = uselocale(before) == mine;
  freelocale(mine);
  return right ? own : kWrong;
}

long local_exception(long own, Wait wait) {
  try {
    try {
      throw own;
    } catch (long) {
      wait();
      try {
        throw std::runtime_error("another, while that one is handled");
      } catch (const std::runtime_error&) {
        wait();
      }
      throw;
    }
  } catch (long caught) {
    return caught;
  }
}

// Counts exceptions that fly while its destructor waits.
long local_unwinding(long own, Wait wait) {
  struct Waits {
    Wait wait;
    int* flying;
    ~Waits() {
      wait();
      *flying = std::uncaught_exceptions();
    }
  };
  int flying = 0;
  try {
    Waits waits{wait, &flying};
    throw own;
  } catch (long caught) {
    return flying == 1 && std::uncaught_exceptions() == 0 ? caught : kWrong;
  }
}

long local_thread_id(long own, Wait wait) {
  static std::mutex lock;
  static std::set<std::thread::id> inside;
  const auto mine = std::this_thread::get_id();
  {
    std::lock_guard guard(lock);
    if (!inside.insert(mine).second) return kWrong;
  }
  wait();
  std::lock_guard guard(lock);
  return std::this_thread::get_id() == mine && inside.erase(mine) == 1 ? own : kWrong;
}

// Collectors of garbage and guards against overflow ask for it.
long local_stack_bounds(long own, Wait wait) {
  wait();
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return kWrong;
  void* lowest;
  size_t size;
  pthread_attr_getstack(&attributes, &lowest, &size);
  pthread_attr_destroy(&attributes);
  char* here = reinterpret_cast<char*>(&attributes);
  return here >= static_cast<char*>(lowest) && here < static_cast<char*>(lowest) + size ? own : kWrong;
}

// --- Locks ------------------------------------------------------------------------------------

// Held by one at a time, who finds what it left.
template <class Lock>
long alone(Lock& lock, long& holder, long own, Wait wait) {
  std::lock_guard guard(lock);
  if (holder != 0) return kWrong;
  holder = own;
  wait();
  return std::exchange(holder, 0) == own ? own : kWrong;
}

// At most kAtOnce are inside.
constexpr int kAtOnce = 3;

struct Few {
  std::atomic<int> inside{0};

  long hold(long own, Wait wait) {
    bool right = ++inside <= kAtOnce;
    wait();
    --inside;
    return right ? own : kWrong;
  }
};

template <class Lock>
long exclusive(long own, Wait wait) {
  static Lock lock;
  static long holder;
  return alone(lock, holder, own, wait);
}

template <int kKind, int kProtocol = PTHREAD_PRIO_NONE, int kRobust = PTHREAD_MUTEX_STALLED>
struct PosixMutex {
  pthread_mutex_t mutex;

  PosixMutex() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, kKind);
    pthread_mutexattr_setprotocol(&attributes, kProtocol);
    pthread_mutexattr_setrobust(&attributes, kRobust);
    pthread_mutex_init(&mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  void lock() {
    if (int error = pthread_mutex_lock(&mutex)) throw error;
  }
  void unlock() {
    if (int error = pthread_mutex_unlock(&mutex)) throw error;
  }
};

// Asks with time limits until it has the lock.
template <class Lock>
struct Patient : Lock {
  void lock() {
    while (!this->try_lock_for(20ms)) {
    }
  }
};

struct ClockLocked {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

  void lock() {
    timespec until;
    do {
      clock_gettime(CLOCK_MONOTONIC, &until);
      until.tv_sec += 1;
    } while (pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &until) != 0);
  }
  void unlock() { pthread_mutex_unlock(&mutex); }
};

// std::condition_variable, its `any`, and its waits with and without a time limit, as one lock.
template <class Condition, bool kTimed>
struct ByCondition {
  std::mutex mutex;
  Condition changed;
  bool taken = false;

  void lock() {
    std::unique_lock guard(mutex);
    while (taken) {
      if (kTimed) changed.wait_for(guard, 20ms);
      else changed.wait(guard);
    }
    taken = true;
  }
  void unlock() {
    {
      std::lock_guard guard(mutex);
      taken = false;
    }
    changed.notify_one();
  }
};

struct ByAtomicWait {
  std::atomic<int> taken{0};

  void lock() {
    while (taken.exchange(1) != 0) taken.wait(1);
  }
  void unlock() {
    taken = 0;
    taken.notify_one();
  }
};

struct ByFutex {
  std::atomic<int> taken{0};

  void lock() {
    timespec limit{0, 20'000'000};
    while (taken.exchange(1) != 0) syscall(SYS_futex, &taken, FUTEX_WAIT_PRIVATE, 1, &limit, nullptr, 0);
  }
  void unlock() {
    taken = 0;
    syscall(SYS_futex, &taken, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
};

template <class Lock>
long readers_and_writers(long own, Wait wait) {
  static Lock lock;
  static long writer;
  static std::atomic<int> readers;
  if (own % 4 == 0) {
    std::lock_guard guard(lock);
    if (readers != 0 || writer != 0) return kWrong;
    writer = own;
    wait();
    return std::exchange(writer, 0) == own && readers == 0 ? own : kWrong;
  }
  std::shared_lock guard(lock);
  ++readers;
  bool right = writer == 0;
  wait();
  right = right && writer == 0;
  --readers;
  return right ? own : kWrong;
}

struct PosixReadWriteLock {
  pthread_rwlock_t rwlock;

  PosixReadWriteLock() {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&rwlock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
  }
  void lock() { pthread_rwlock_wrlock(&rwlock); }
  void lock_shared() { pthread_rwlock_rdlock(&rwlock); }
  void unlock() { pthread_rwlock_unlock(&rwlock); }
  void unlock_shared() { unlock(); }
};

// Waiting for a lock leaves errno alone.
long lock_keeps_errno(long own, Wait wait) {
  static std::mutex lock;
  errno = static_cast<int>(own % 100) + 1;
  lock.lock();
  bool right = errno == own % 100 + 1;
  wait();
  lock.unlock();
  return right ? own : kWrong;
}

long semaphore_of_cxx(long own, Wait wait) {
  static std::counting_semaphore<> semaphore(kAtOnce);
  static Few few;
  semaphore.acquire();
  long held = few.hold(own, wait);
  semaphore.release();
  return held;
}

long semaphore_of_posix(long own, Wait wait) {
  static Few few;
  static sem_t* semaphore = [] {
    static sem_t made;
    sem_init(&made, 0, kAtOnce);
    return &made;
  }();
  timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 600;
  while ((own % 2 != 0 ? sem_wait(semaphore) : sem_timedwait(semaphore, &until)) != 0) {
    if (errno != EINTR) return kWrong;
  }
  long held = few.hold(own, wait);
  sem_post(semaphore);
  return held;
}

// --- Once -------------------------------------------------------------------------------------

// Ten requests in a row are for the same.
long once_call(long own, Wait wait) {
  static std::array<std::once_flag, 4096> flags;
  static std::array<std::atomic<long>, 4096> values;
  const size_t which = own / 10 % flags.size();
  std::call_once(flags[which], [&] {
    wait();
    ++values[which];
  });
  return values[which] == 1 ? own : kWrong;
}

template <size_t kWhich>
bool made_once(Wait wait) {
  static std::atomic<int> times;
  static const int value = (wait(), ++times);
  return value == 1 && times == 1;
}

template <size_t... kWhich>
bool made_once(size_t which, Wait wait, std::index_sequence<kWhich...>) {
  static constexpr bool (*kAll[])(Wait) = {&made_once<kWhich>...};
  return kAll[which](wait);
}

long once_static(long own, Wait wait) {
  constexpr size_t kStatics = 64;
  return made_once(own / 10 % kStatics, wait, std::make_index_sequence<kStatics>()) ? own : kWrong;
}

// --- A partner: a real thread -----------------------------------------------------------------

long partner_joined(long own, Wait wait) {
  long said = 0;
  std::thread partner([&] {
    std::this_thread::sleep_for(1ms);
    said = own;
  });
  wait();
  partner.join();
  return said;
}

long partner_promises(long own, Wait wait) {
  std::promise<long> promise;
  std::thread partner([&] {
    std::this_thread::sleep_for(1ms);
    promise.set_value(own);
  });
  wait();
  long said = promise.get_future().get();
  partner.join();
  return said;
}

long partner_notifies(long own, Wait wait) {
  std::mutex mutex;
  std::condition_variable changed;
  long said = 0;
  std::thread partner([&] {
    std::this_thread::sleep_for(1ms);
    std::lock_guard guard(mutex);
    said = own;
    changed.notify_all();
  });
  wait();
  {
    std::unique_lock guard(mutex);
    changed.wait(guard, [&] { return said != 0; });
  }
  partner.join();
  return said;
}

// Each waits for the other twice: what is in `theirs` and `mine` is seen by both.
template <class Meet>
long meeting(Meet meet, long own, Wait wait) {
  long mine = 0, theirs = 0, seen = 0;
  std::thread partner([&] {
    theirs = own;
    meet();
    seen = mine;
    meet();
  });
  mine = own;
  wait();
  meet();
  bool right = theirs == own;
  meet();
  partner.join();
  return right && seen == own ? own : kWrong;
}

long partner_at_barrier(long own, Wait wait) {
  std::barrier barrier(2);
  return meeting([&] { barrier.arrive_and_wait(); }, own, wait);
}

long partner_at_posix_barrier(long own, Wait wait) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 2);
  long met = meeting([&] { pthread_barrier_wait(&barrier); }, own, wait);
  pthread_barrier_destroy(&barrier);
  return met;
}

long partner_at_latch(long own, Wait wait) {
  std::latch latch(1);
  std::thread partner([&] {
    std::this_thread::sleep_for(1ms);
    latch.count_down();
  });
  wait();
  latch.wait();
  partner.join();
  return own;
}

long partner_posts(long own, Wait wait) {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  std::thread partner([&] {
    std::this_thread::sleep_for(1ms);
    sem_post(&semaphore);
  });
  wait();
  while (sem_wait(&semaphore) != 0) {
  }
  partner.join();
  sem_destroy(&semaphore);
  return own;
}

long partner_writes(long own, Wait wait) {
  int ends_of_pipe[2];
  if (pipe2(ends_of_pipe, O_CLOEXEC) != 0) return kWrong;
  std::thread partner([&] {
    std::this_thread::sleep_for(1ms);
    if (write(ends_of_pipe[1], &own, sizeof own) != sizeof own) abort();
  });
  wait();
  long said = 0;
  if (read(ends_of_pipe[0], &said, sizeof said) != sizeof said) said = kWrong;
  partner.join();
  close(ends_of_pipe[0]);
  close(ends_of_pipe[1]);
  return said;
}

struct {
  const char* name;
  long (*run)(long own, Wait wait);
} const kCanaries[] = {
#define CANARY(name) \
  { #name, &name }
    CANARY(local_constructed),
    CANARY(local_global_dynamic),
    CANARY(local_local_dynamic),
    CANARY(local_initial_exec),
    CANARY(local_in_function),
    CANARY(local_address),
    CANARY(local_key),
    CANARY(local_key_of_c11),
    CANARY(local_c_locale),
    CANARY(local_exception),
    CANARY(local_unwinding),
    CANARY(local_thread_id),
    CANARY(local_stack_bounds),
    {"lock_mutex", &exclusive<std::mutex>},
    {"lock_recursive_mutex", &exclusive<std::recursive_mutex>},
    {"lock_timed_mutex", &exclusive<Patient<std::timed_mutex>>},
    {"lock_recursive_timed_mutex", &exclusive<Patient<std::recursive_timed_mutex>>},
    {"lock_by_clock", &exclusive<ClockLocked>},
    {"lock_checking_mutex", &exclusive<PosixMutex<PTHREAD_MUTEX_ERRORCHECK>>},
    {"lock_adaptive_mutex", &exclusive<PosixMutex<PTHREAD_MUTEX_ADAPTIVE_NP>>},
    {"lock_robust_mutex",
     &exclusive<PosixMutex<PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST>>},
    {"lock_inheriting_mutex", &exclusive<PosixMutex<PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT>>},
    {"lock_shared_mutex", &readers_and_writers<std::shared_mutex>},
    {"lock_shared_timed_mutex", &readers_and_writers<std::shared_timed_mutex>},
    {"lock_rwlock", &readers_and_writers<PosixReadWriteLock>},
    {"lock_condition", &exclusive<ByCondition<std::condition_variable, false>>},
    {"lock_timed_condition", &exclusive<ByCondition<std::condition_variable, true>>},
    {"lock_condition_any", &exclusive<ByCondition<std::condition_variable_any, false>>},
    {"lock_atomic_wait", &exclusive<ByAtomicWait>},
    {"lock_futex", &exclusive<ByFutex>},
    CANARY(lock_keeps_errno),
    CANARY(semaphore_of_cxx),
    CANARY(semaphore_of_posix),
    CANARY(once_call),
    CANARY(once_static),
    CANARY(partner_joined),
    CANARY(partner_promises),
    CANARY(partner_notifies),
    CANARY(partner_at_barrier),
    CANARY(partner_at_posix_barrier),
    CANARY(partner_at_latch),
    CANARY(partner_posts),
    CANARY(partner_writes),
};

}  // namespace

extern "C" {

int canaries() { return static_cast<int>(std::size(kCanaries)); }

const char* canary_name(int which) { return kCanaries[which].name; }

long canary_run(int which, long own, Wait wait) { return kCanaries[which].run(own, wait); }

int canaries_ended(long* owns, int max) {
  std::lock_guard guard(ends_lock);
  int count = 0;
  for (; count < max && !ends.empty(); ++count) {
    owns[count] = ends.back();
    ends.pop_back();
  }
  return count;
}

void canaries_say_ends(int fd) { ends_fd = fd; }
}
