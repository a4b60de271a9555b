#include "plugin/uwsgi/connection_socket.h"

#include "plugin/python/application.h"
#include "plugin/python/python_source.h"
#include "plugin/uwsgi/python_bridge.h"

extern "C" {
ssize_t uwsgi_proto_base_read_body(wsgi_request*, char*, size_t);
int uwsgi_proto_base_write(wsgi_request*, char*, size_t);
}

namespace engine {
namespace {

using python::py_check;
using python::py_check_status;
using python::PyError;
using python::PyRef;

// Most applications use uWSGI's own functions: the descriptor is doubled for those that ask. It is
// uWSGI's own connection, which does not block: with a timeout Python polls before it reads, and
// the longest there is (24 days) stands for none.
constexpr char kSource[] = R"(
import os
import socket


class Connection:
    """As good as a socket.socket, which it becomes when it is first used."""

    def __init__(self, fd):
        self._fd = fd

    def __getattr__(self, name):
        if name == '_socket':
            if self._fd < 0:
                raise OSError('the request has ended')
            self._socket = socket.socket(fileno=os.dup(self._fd))
            self._socket.settimeout(2_000_000)
            return self._socket
        return getattr(self._socket, name)

    def _withdraw(self):
        """Nobody may read any more; the request's own descriptor is closed next."""
        self._fd = -1
        if '_socket' in self.__dict__ and self._socket.fileno() >= 0:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
)";

bool is_bare(const uwsgi_socket& socket) noexcept {
  return socket.proto_read_body == uwsgi_proto_base_read_body && socket.proto_write == uwsgi_proto_base_write;
}

PyObject* connection_class() {
  static PyObject* const type =
      python::from_python_source(kSource, "uwsgi_tornado.connection", "Connection").release();
  return type;
}

}  // namespace

PyRef offer_connection(const wsgi_request& request, PyObject* environ) noexcept {
  if (request.http_sec_websocket_key_len == 0 || !is_bare(*request.socket)) return {};
  try {
    PyRef connection = py_check(PyObject_CallFunction(connection_class(), "i", request.fd));
    py_check_status(PyDict_SetItemString(environ, python::kConnectionKey, connection.get()));
    return connection;
  } catch (const PyError&) {
    report_python_error();
    return {};
  }
}

void withdraw_connection(const PyRef& connection) noexcept {
  const auto done = PyRef::steal(PyObject_CallMethod(connection.get(), "_withdraw", nullptr));
  if (!done) report_python_error();
}

}  // namespace engine
