// Names and functions that the parts of a transport share.
#pragma once

#include <Python.h>

#include <cerrno>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/python/py_ref.h"

namespace python {

// Methods of protocols and transports, borrowed: they live as long as the process.
struct TransportNames {
  PyObject* get_buffer = interned("get_buffer");
  PyObject* buffer_updated = interned("buffer_updated");
  PyObject* data_received = interned("data_received");
  PyObject* eof_received = interned("eof_received");
  PyObject* connection_made = interned("connection_made");
  PyObject* connection_lost = interned("connection_lost");
  PyObject* pause_writing = interned("pause_writing");
  PyObject* resume_writing = interned("resume_writing");
  PyObject* write = interned("write");
  PyObject* add_reader = interned("_add_reader");
  PyObject* read_ready = interned("_read_ready");
  PyObject* write_ready = interned("_write_ready");
  PyObject* call_connection_lost = interned("_call_connection_lost");
  PyObject* any_size = py_check(PyLong_FromLong(-1)).release();

  static PyObject* interned(const char* text) { return py_check(PyUnicode_InternFromString(text)).release(); }
};

inline const TransportNames& transport_names() {
  static const TransportNames names;
  return names;
}

inline void log_debug(const char* format, PyObject* transport) {
  py_check(PyObject_CallMethod(asyncio_names().logger, "debug", "sO", format, transport));
}

// Whether a call that does not block is to be tried again later.
inline bool is_for_later(int error) noexcept { return error == EAGAIN || error == EINTR; }

// object.name
inline PyRef attribute(PyObject* object, PyObject* name) { return py_check(PyObject_GetAttr(object, name)); }

// Errors that end the loop, whichever callback raised them.
inline bool is_exit_pending() noexcept {
  return PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

}  // namespace python
