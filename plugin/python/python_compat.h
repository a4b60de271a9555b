// Functions that later CPythons have, for the earlier ones.
#pragma once

#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000
#include <frameobject.h>
#endif

#if PY_VERSION_HEX < 0x03090000

inline PyInterpreterState* PyInterpreterState_Get() noexcept { return _PyInterpreterState_Get(); }

inline PyInterpreterState* PyThreadState_GetInterpreter(PyThreadState* state) noexcept {
  return state->interp;
}

// A new reference, or null.
inline PyFrameObject* PyThreadState_GetFrame(PyThreadState* state) noexcept {
  Py_XINCREF(reinterpret_cast<PyObject*>(state->frame));
  return state->frame;
}

// A new reference.
inline PyCodeObject* PyFrame_GetCode(PyFrameObject* frame) noexcept {
  Py_INCREF(reinterpret_cast<PyObject*>(frame->f_code));
  return frame->f_code;
}

// A new reference, or null.
inline PyFrameObject* PyFrame_GetBack(PyFrameObject* frame) noexcept {
  Py_XINCREF(reinterpret_cast<PyObject*>(frame->f_back));
  return frame->f_back;
}

inline void Py_SET_REFCNT(PyObject* object, Py_ssize_t count) noexcept { Py_REFCNT(object) = count; }

#endif

#if PY_VERSION_HEX < 0x030B0000
// A new reference.
inline PyObject* PyFrame_GetGlobals(PyFrameObject* frame) noexcept {
  Py_INCREF(frame->f_globals);
  return frame->f_globals;
}
#endif
