// What else threads wait for each other by: read-write locks, barriers, once, the end of a thread.
#pragma once

#include <pthread.h>

namespace blocking {

// pthread_once(), for what is made of it. Lets through what `function` throws.
int suspending_once(pthread_once_t* control, void (*function)());

}  // namespace blocking
