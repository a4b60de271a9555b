// What asyncio keeps in a thread state, which greenlets of one thread share.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// From CPython 3.13 on the running loop, and from 3.14 on its current task too, are fields of the state that
// runs, which only asyncio's own functions reach; before they were in its dict. They belong to the thread:
// made while the state that is left runs, it takes them out; give() puts them into the one that runs then.
class AsyncioOfThread {
 public:
  AsyncioOfThread() noexcept;
  void give() noexcept;
  AsyncioOfThread(const AsyncioOfThread&) = delete;
  AsyncioOfThread& operator=(const AsyncioOfThread&) = delete;

 private:
  PyRef module_;  // Null where there is nothing to carry.
  PyRef loop_;
  PyRef task_;
};

}  // namespace python
