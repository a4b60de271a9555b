// The worker's asyncio event loop, which runs on the IoLoop that serves the requests.
#pragma once

#include <Python.h>

#include "plugin/asyncio/event_loop.h"
#include "plugin/loop/io_loop.h"
#include "plugin/python/py_ref.h"

namespace python {

// It is made before the application is imported (in the master, before the fork, unless --lazy-apps is
// set), so that asyncio.get_event_loop() at import returns the loop that will run. In the worker it runs
// from begin() to end(), on the hub's thread state. In a process that never calls begin() (a mule, the
// spooler) it is an ordinary loop, which the application may run itself.
class WorkerLoop {
 public:
  // Sets asyncio's policy and current event loop. Call it once in a process, with the GIL held.
  // Throws PyError, std::runtime_error.
  static WorkerLoop& make();
  // Null if make() was not called. The worker destroys it as it ends; other processes keep it to their end.
  static WorkerLoop* instance() noexcept { return instance_; }

  loop::IoLoop& io() noexcept { return io_; }
  PyObject* event_loop() const noexcept { return event_loop_.get(); }
  // False also in children that the worker forked.
  bool running() const noexcept { return running_; }
  // A concurrent.futures.ThreadPoolExecutor of real threads, for code that computes without the GIL.
  // Borrowed. Throws PyError.
  PyObject* real_threads();

  // Makes it asyncio's running loop of this thread, until end(). Throws PyError.
  void begin();
  // Cancels the tasks that are left, gives them and asynchronous generators `grace_s` seconds
  // to end, and closes the loop. Errors are written to the log.
  void end(double grace_s) noexcept;
  // Destroys the loop. REQUIRES: end() has returned.
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
