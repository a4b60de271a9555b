// Who a fiber is to CPython: its own thread.
#pragma once

#include <pthread.h>

#include "suspend/fiber.h"

namespace blocking {

// While one lives, the thread that `fiber` is to C is known to be one of the loop's OS thread: a signal
// for it goes to that. Made on the loop's stack; asked about on any thread.
class Identity {
 public:
  explicit Identity(const suspend::Fiber& fiber);
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

 private:
  const pthread_t thread_;
};

// While shown, libpython's pthread_self() answers with the loop's thread in a fiber, too: what
// CPython has its main thread do alone, the fiber does then. The loop's OS thread only.
void show_loop_thread(bool shown) noexcept;

}  // namespace blocking
