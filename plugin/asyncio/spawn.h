// Plain functions that run beside requests, and the futures of their outcomes.
#pragma once

#include <Python.h>

namespace python {

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

// The functions of the module: spawn.
extern PyMethodDef spawn_methods[];

}  // namespace python
