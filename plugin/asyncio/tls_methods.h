// The methods of asyncio's TLS protocol: those that C++ calls, and those that are C++.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// Borrowed: they live as long as the process.
struct TlsMethods {
  // Names.
  PyObject* do_handshake;
  PyObject* do_read;
  PyObject* do_write;
  PyObject* do_flush;
  PyObject* do_shutdown;
  PyObject* start_shutdown;
  PyObject* call_eof_received;
  PyObject* control_app_writing;
  PyObject* control_ssl_reading;
  PyObject* fatal_error;
  PyObject* append;
  PyObject* call_soon;
  // Members of asyncio.sslproto.SSLProtocolState.
  PyObject* handshaking;
  PyObject* wrapped;
  PyObject* flushing;
  PyObject* shutting_down;
};

const TlsMethods& tls_methods();

// These do what methods of those names do. False where nothing has been done, as asyncio's own must be
// called. REQUIRES: is_tls_protocol(self). They throw PyError.
bool tls_do_read(PyObject* self);
bool tls_process_outgoing(PyObject* self);
// The same, and call asyncio's themselves.
void call_do_read(PyObject* self);
void call_process_outgoing(PyObject* self);

}  // namespace python
