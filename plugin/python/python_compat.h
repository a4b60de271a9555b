// What CPython 3.9 named and 3.8 has under other names.
#pragma once

#include <Python.h>

#if PY_VERSION_HEX < 0x03090000

#include <frameobject.h>

inline PyInterpreterState* PyInterpreterState_Get() noexcept { return _PyInterpreterState_Get(); }

inline PyInterpreterState* PyThreadState_GetInterpreter(PyThreadState* state) noexcept {
  return state->interp;
}

// A new reference, or null.
inline PyFrameObject* PyThreadState_GetFrame(PyThreadState* state) noexcept {
  Py_XINCREF(reinterpret_cast<PyObject*>(state->frame));
  return state->frame;
}

inline void Py_SET_REFCNT(PyObject* object, Py_ssize_t count) noexcept { Py_REFCNT(object) = count; }

#endif
