// The private mutexes of C libraries, where requests of one thread contend for them.
#pragma once

#include <pthread.h>

#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

std::vector<Call> mutex_calls();

// The calls of these names without `suspending_` and `waking_`: what waits for a condition gives its
// mutex up and takes it back by them.
int suspending_mutex_lock(pthread_mutex_t* mutex) noexcept;
int waking_mutex_unlock(pthread_mutex_t* mutex) noexcept;

}  // namespace blocking
