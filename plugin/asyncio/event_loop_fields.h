// The C++ side of a Python EventLoop, and the attributes of asyncio's loops that are kept there.
#pragma once

#include <Python.h>

#include "plugin/asyncio/event_loop.h"

namespace python {

// The base that holds the C++ side. EventLoop inherits from this type and asyncio's, in this order.
struct CoreObject {
  PyObject_HEAD EventLoop* loop;
};

inline EventLoop& loop_of(PyObject* self) noexcept { return *reinterpret_cast<CoreObject*>(self)->loop; }

// Attributes of asyncio.BaseEventLoop and BaseSelectorEventLoop, which asyncio's own methods read and write.
extern PyGetSetDef event_loop_fields[];

}  // namespace python
