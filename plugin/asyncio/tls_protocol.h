// asyncio's TLS, with its frequent calls in C++.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/python/py_ref.h"

namespace python {

// The class to use for asyncio.sslproto.SSLProtocol on `loop`: uwsgi_tornado._SSLProtocol, which is derived
// from it. In debug mode, on a loop that is no EventLoop, in Pythons whose class is not as known, and if
// somebody has replaced the class or a method, it is asyncio's. Throws PyError.
PyRef tls_protocol_type(PyObject* loop);

// Exactly uwsgi_tornado._SSLProtocol.
bool is_tls_protocol(PyObject* object) noexcept;

// Does what get_buffer() and buffer_updated() would with bytes of the peer. REQUIRES:
// is_tls_protocol(protocol). Throws PyError.
void tls_received(PyObject* protocol, char* data, std::size_t size);

// Does what transport.write() of asyncio's does. REQUIRES: is_tls_protocol(protocol). False where nothing has
// been done, as asyncio's method must be called. Throws PyError.
bool tls_write(PyObject* protocol, PyObject* data);
// The same for transport.writelines(). Small pieces share a record, of which asyncio makes one for each.
bool tls_writelines(PyObject* protocol, PyObject* pieces);

}  // namespace python
