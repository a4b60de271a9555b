// Replacements of mutex and condition variable calls that other files use, too.
#pragma once

#include <pthread.h>

#include <ctime>

namespace blocking {

// How many fibers wait for a lock, for tests and reports.
int fibers_waiting_for_locks() noexcept;

// Each replaces the pthread call named after its first word. C11's threads are built on them.
int suspending_mutex_lock(pthread_mutex_t* mutex) noexcept;
int suspending_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept;
int knowing_mutex_trylock(pthread_mutex_t* mutex) noexcept;
int waking_mutex_unlock(pthread_mutex_t* mutex) noexcept;

int suspending_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) noexcept;
int suspending_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                              const timespec* until) noexcept;
int waking_cond_signal(pthread_cond_t* condition) noexcept;
int waking_cond_broadcast(pthread_cond_t* condition) noexcept;

// Passes on the exceptions that `function` throws.
int suspending_once(pthread_once_t* control, void (*function)());

}  // namespace blocking
