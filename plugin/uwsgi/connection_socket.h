// environ["gunicorn.socket"]: the connection of a request that asks for a websocket, for libraries
// that speak the protocol themselves (simple-websocket, flask-sock, dwebsocket).
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

// Adds it if the request asks for a websocket and its connection carries plain bytes. Returns it, or null.
// With the GIL held.
python::PyRef offer_connection(const wsgi_request& request, PyObject* environ) noexcept;

// The request ends, and with it the connection. With the GIL held.
void withdraw_connection(const python::PyRef& connection) noexcept;

}  // namespace engine
