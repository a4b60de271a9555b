#include <pthread.h>
#include <threads.h>
#include <time.h>

#include <cerrno>

#include "plugin/blocking/groups.h"
#include "plugin/blocking/lock_calls.h"

// In glibc the types are POSIX's (sysdeps/pthread/thrd_priv.h), and so is all that they do.

namespace blocking {
namespace {

int as_c11(int error) noexcept {
  switch (error) {
    case 0: return thrd_success;
    case ENOMEM: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    case EBUSY: return thrd_busy;
    default: return thrd_error;
  }
}

pthread_mutex_t* posix(mtx_t* mutex) noexcept { return reinterpret_cast<pthread_mutex_t*>(mutex); }
pthread_cond_t* posix(cnd_t* condition) noexcept { return reinterpret_cast<pthread_cond_t*>(condition); }

int suspending_mtx_lock(mtx_t* mutex) noexcept { return as_c11(suspending_mutex_lock(posix(mutex))); }
int suspending_mtx_timedlock(mtx_t* mutex, const timespec* until) noexcept {
  return as_c11(suspending_mutex_timedlock(posix(mutex), until));
}
int knowing_mtx_trylock(mtx_t* mutex) noexcept { return as_c11(knowing_mutex_trylock(posix(mutex))); }
int waking_mtx_unlock(mtx_t* mutex) noexcept { return as_c11(waking_mutex_unlock(posix(mutex))); }

int suspending_cnd_wait(cnd_t* condition, mtx_t* mutex) noexcept {
  return as_c11(suspending_cond_wait(posix(condition), posix(mutex)));
}
int suspending_cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) noexcept {
  return as_c11(suspending_cond_timedwait(posix(condition), posix(mutex), until));
}
int waking_cnd_signal(cnd_t* condition) noexcept { return as_c11(waking_cond_signal(posix(condition))); }
int waking_cnd_broadcast(cnd_t* condition) noexcept {
  return as_c11(waking_cond_broadcast(posix(condition)));
}

void suspending_call_once(once_flag* flag, void (*function)()) {
  suspending_once(reinterpret_cast<pthread_once_t*>(flag), function);
}

}  // namespace

std::vector<Call> c11_calls() {
  return {
      {"mtx_lock", address_of(suspending_mtx_lock), Scope::kAnyLibrary},
      {"mtx_timedlock", address_of(suspending_mtx_timedlock), Scope::kAnyLibrary},
      {"mtx_trylock", address_of(knowing_mtx_trylock), Scope::kAnyLibrary},
      {"mtx_unlock", address_of(waking_mtx_unlock), Scope::kAnyLibrary},
      {"cnd_wait", address_of(suspending_cnd_wait), Scope::kAnyLibrary},
      {"cnd_timedwait", address_of(suspending_cnd_timedwait), Scope::kAnyLibrary},
      {"cnd_signal", address_of(waking_cnd_signal), Scope::kAnyLibrary},
      {"cnd_broadcast", address_of(waking_cnd_broadcast), Scope::kAnyLibrary},
      {"call_once", address_of(suspending_call_once), Scope::kAnyLibrary},
  };
}

}  // namespace blocking
