// Calls by which threads wait for each other, for use in other files.
#pragma once

#include <pthread.h>

#include <ctime>

namespace blocking {

// Fibers that wait for a semaphore now, for tests and reports.
int fibers_waiting_for_locks() noexcept;

// The calls of these names after their first word, for what is made of them (C11's threads).
int suspending_mutex_lock(pthread_mutex_t* mutex) noexcept;
int suspending_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept;
int knowing_mutex_trylock(pthread_mutex_t* mutex) noexcept;
int waking_mutex_unlock(pthread_mutex_t* mutex) noexcept;

int suspending_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) noexcept;
int suspending_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                              const timespec* until) noexcept;
int waking_cond_signal(pthread_cond_t* condition) noexcept;
int waking_cond_broadcast(pthread_cond_t* condition) noexcept;

// Lets through what `function` throws.
int suspending_once(pthread_once_t* control, void (*function)());

}  // namespace blocking
