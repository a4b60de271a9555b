// Data that asyncio keeps in a thread state, and that greenlets of one thread share.
#pragma once

#include "plugin/python/py_ref.h"

namespace python {

// From CPython 3.13 on the running loop, and from 3.14 on also its current task, are fields of the running
// state that only asyncio's own functions reach; before they were in its dict. They belong to the thread: the
// constructor takes them from the state that is left, and give() puts them into the one that runs then.
class AsyncioOfThread {
 public:
  AsyncioOfThread() noexcept;
  void give() noexcept;
  AsyncioOfThread(const AsyncioOfThread&) = delete;
  AsyncioOfThread& operator=(const AsyncioOfThread&) = delete;

 private:
  PyRef module_;  // Null if there is nothing to carry.
  PyRef loop_;
  PyRef task_;
};

}  // namespace python
