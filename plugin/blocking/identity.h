// The thread that CPython takes a fiber for: its own.
#pragma once

#include <pthread.h>

#include "suspend/fiber.h"

namespace blocking {

// While one exists, the thread of `fiber` is known to belong to the loop's OS thread, which gets the signals
// for it. Made on the loop's stack; queried on any thread.
class Identity {
 public:
  explicit Identity(const suspend::Fiber& fiber);
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

 private:
  const pthread_t thread_;
};

// While one exists, libpython's pthread_self() returns the loop's thread in a fiber as well, so the fiber may
// do what CPython reserves for its main thread. The loop's OS thread only.
void show_loop_thread(bool shown) noexcept;

}  // namespace blocking
