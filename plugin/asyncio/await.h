// Plain code of a request waits for what runs on the worker's event loop.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

class VirtualThread;
class WorkerLoop;

// Runs functions on virtual threads outside any request. What the layer above provides.
class Spawner {
 public:
  // Calls run(argument) on a virtual thread, at once until it first waits. On the loop's thread;
  // from inside a fiber it starts in the next turn. Throws std::bad_alloc.
  virtual void spawn(void (*run)(void*) noexcept, void* argument) = 0;
  // While the virtual thread that calls it is idle, the worker's end does not wait for it. On such a thread.
  virtual void set_idle(bool idle) noexcept = 0;

 protected:
  ~Spawner() = default;
};

// Null where there is no worker to spawn in. `spawner` outlives the worker's requests.
void set_spawner(Spawner* spawner) noexcept;
Spawner* spawner() noexcept;

// The functions of the module: await_, gather_, spawn, to_thread, sleep.
extern PyMethodDef await_methods[];

// The virtual thread of the request that calls `function`, where it may be suspended. Throws PyError
// with a sentence that names `function`.
VirtualThread& waiting_thread(const char* function);
// The worker's loop, which runs. Throws PyError likewise.
WorkerLoop& running_worker_loop(const char* function);

// The seconds of a `timeout` argument: negative, for ever, where it is null or None. Throws PyError.
double seconds_of(PyObject* timeout);

// What uwsgi_tornado.await_(awaitable, timeout) does. `timeout` may be null or None. Throws PyError.
PyRef await_in_request(PyObject* awaitable, PyObject* timeout);

}  // namespace python
