// Tells from the frames of a fiber what code runs there.
#pragma once

#include <Python.h>

namespace python {

// False if a fiber that gave way in `state` must go on before anybody else runs. It is inside a __del__,
// which can run in the middle of any code, or inside a function of asyncio's or Tornado's that works on
// objects of the worker's loop: these were written for a loop on which nothing else runs meanwhile. With the
// GIL held. Looks at all frames, but only when a fiber gives way: a thousand take 30 us of its quantum.
bool may_be_left(PyThreadState* state) noexcept;

}  // namespace python
