// Plain functions that run beside requests, and the futures of their results.
#pragma once

#include <Python.h>

namespace python {

// Runs functions on virtual threads outside any request. The layer above implements it.
class Spawner {
 public:
  // Calls run(argument) on a virtual thread, at once until it first waits. On the loop's thread;
  // from inside a fiber it starts in the next turn. Throws std::bad_alloc.
  virtual void spawn(void (*run)(void*) noexcept, void* argument) = 0;
  // While the calling virtual thread is idle, a worker that ends does not wait for it.
  virtual void set_idle(bool idle) noexcept = 0;

 protected:
  ~Spawner() = default;
};

// Null if there is no worker to spawn in. `spawner` must outlive the worker's requests.
void set_spawner(Spawner* spawner) noexcept;
Spawner* spawner() noexcept;

// The functions of the module: spawn.
extern PyMethodDef spawn_methods[];

}  // namespace python
