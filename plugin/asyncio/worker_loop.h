// The worker's one event loop: asyncio's face of the IoLoop that serves the requests.
#pragma once

#include <Python.h>

#include "plugin/asyncio/event_loop.h"
#include "plugin/loop/io_loop.h"
#include "plugin/python/py_ref.h"

namespace python {

// Made before the application is imported, so that asyncio.get_event_loop() at import gives the
// loop that later runs; that may be in the master, before the fork. In the worker it runs
// from begin() to end(), on the hub's thread state. In a process where it never begins (a mule,
// the spooler) it is a loop like others, to be run by hand.
class WorkerLoop {
 public:
  // Sets asyncio's policy and current event loop. Once in a process, with the GIL held.
  // Throws PyError, std::runtime_error.
  static WorkerLoop& make();
  // Null where none was made. The worker's ends with the worker; any other, with its process.
  static WorkerLoop* instance() noexcept { return instance_; }

  loop::IoLoop& io() noexcept { return io_; }
  PyObject* event_loop() const noexcept { return event_loop_.get(); }
  // False in a child that the worker forked, too.
  bool running() const noexcept { return running_; }
  // A concurrent.futures.ThreadPoolExecutor, borrowed: real threads, for what gives the GIL up and computes.
  // Throws PyError.
  PyObject* real_threads();

  // It is asyncio's running loop of this thread, until end(). Throws PyError.
  void begin();
  // Cancels the tasks that are left, gives them and asynchronous generators `grace_s` seconds
  // to end, and closes it. What fails is written to the log.
  void end(double grace_s) noexcept;
  // After end(): the loop itself goes.
  static void destroy() noexcept;

  WorkerLoop(const WorkerLoop&) = delete;
  WorkerLoop& operator=(const WorkerLoop&) = delete;

 private:
  WorkerLoop() = default;
  ~WorkerLoop() = default;

  static void after_fork() noexcept;

  loop::IoLoop io_;
  PyRef event_loop_;
  PyRef real_threads_;
  bool running_ = false;

  static inline WorkerLoop* instance_ = nullptr;
};

}  // namespace python
