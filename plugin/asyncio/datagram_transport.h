// The transport of a UDP socket.
#pragma once

#include <Python.h>

namespace python {

// A loop's _make_datagram_transport(), as a method with keywords. For a plain UDP socket it makes a
// uwsgi_tornado._DatagramTransport: asyncio's, which receives and sends without the methods of the socket
// object where nothing is queued and no name is to be resolved. All else, and other sockets, are asyncio's
// own.
PyObject* make_datagram_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept;

}  // namespace python
