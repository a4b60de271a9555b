// An application that runs on the loop while the fiber of its request waits.
#pragma once

#include "plugin/python/py_ref.h"

namespace engine {

// Known to the thread of its request (RequestThread::set_application()). The loop's thread only.
class AsyncApplication {
 public:
  // The worker ends.
  virtual void going_away() noexcept {}
  // The request continues without its connection, because the descriptor is about to be closed.
  virtual void connection_lost() noexcept = 0;
  // Its asyncio task, and the coroutine in it that is the application's; null before it starts and once it
  // has ended.
  virtual python::PyRef task() const = 0;
  virtual python::PyRef coroutine() const = 0;

 protected:
  ~AsyncApplication() = default;
};

}  // namespace engine
