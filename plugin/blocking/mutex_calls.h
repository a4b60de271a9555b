// The private mutexes of C libraries, where requests of one thread contend for them.
#pragma once

#include <pthread.h>

namespace blocking {

// The calls of these names after their first word, for what is made of them.
int suspending_mutex_lock(pthread_mutex_t* mutex) noexcept;
int suspending_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept;
int knowing_mutex_trylock(pthread_mutex_t* mutex) noexcept;
int waking_mutex_unlock(pthread_mutex_t* mutex) noexcept;

}  // namespace blocking
