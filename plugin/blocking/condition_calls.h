// Condition variables of C libraries: whoever waits for one is suspended.
#pragma once

#include <pthread.h>

namespace blocking {

// The calls of these names after their first word, for what is made of them.
int suspending_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) noexcept;
int suspending_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                              const timespec* until) noexcept;
int waking_cond_signal(pthread_cond_t* condition) noexcept;
int waking_cond_broadcast(pthread_cond_t* condition) noexcept;

}  // namespace blocking
