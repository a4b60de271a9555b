// fibers() and dump(): what the worker's requests are doing, seen from Python.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// Answered by the layer that has the requests. With the GIL held; throw PyError.
class WorkerView {
 public:
  virtual PyRef fibers() = 0;  // A list of dicts.
  virtual PyRef dump() = 0;    // A str.

 protected:
  ~WorkerView() = default;
};

// Null where there is no worker; outlives the worker's requests.
void set_worker_view(WorkerView* view) noexcept;

extern PyMethodDef worker_view_methods[];

}  // namespace python
