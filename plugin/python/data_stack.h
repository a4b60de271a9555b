// Where a thread state keeps the frames of Python functions.
#pragma once

#include <Python.h>

#include "suspend/stack.h"

namespace python {

// From 3.11 on CPython keeps the frames of a thread in its own chunks of 16 KiB, whole pages of which most
// waiting requests use a few hundred bytes. Here the first chunk of `state` is the annex of its fiber's
// stack, which begins in a page that is used anyhow. Before 3.11 this does nothing.
class DataStack {
 public:
  // REQUIRES: no Python function has run in `state`. Both outlive this.
  DataStack(PyThreadState* state, const suspend::Stack& stack) noexcept;
  // REQUIRES: no Python function runs in it.
  ~DataStack();
  DataStack(const DataStack&) = delete;
  DataStack& operator=(const DataStack&) = delete;

 private:
  PyThreadState* const state_;
};

}  // namespace python
