#include "plugin/asyncio/socket_fields.h"

#include "plugin/asyncio/asyncio_names.h"

namespace python {
namespace {

bool says(PyObject* sock, const char* name, long value, bool method) {
  const PyRef said =
      py_check(method ? PyObject_CallMethod(sock, name, nullptr) : PyObject_GetAttrString(sock, name));
  return PyLong_Check(said.get()) && PyLong_AsLong(said.get()) == value;
}

bool compare() {
  const PyRef sock = py_check(PyObject_CallFunction(asyncio_names().socket, nullptr));
  const SocketFields& fields = SocketFields::of(sock.get());
  py_check(PyObject_CallMethod(sock.get(), "settimeout", "d", 2.5));
  const bool timeout_known = fields.timeout_ns == 2'500'000'000;
  py_check(PyObject_CallMethod(sock.get(), "setblocking", "i", 0));
  const bool known = timeout_known && fields.timeout_ns == 0 && says(sock.get(), "fileno", fields.fd, true) &&
                     says(sock.get(), "family", fields.family, false) &&
                     says(sock.get(), "type", fields.type, false) &&
                     says(sock.get(), "proto", fields.protocol, false);
  py_check(PyObject_CallMethod(sock.get(), "close", nullptr));
  return known && fields.fd == -1;
}

}  // namespace

bool know_socket_fields() {
  static bool compared = false, known = false;
  if (compared) return known;
  try {
    known = compare();
    compared = true;
  } catch (const PyError&) {
    if (!PyErr_ExceptionMatches(PyExc_OSError)) throw;
    PyErr_Clear();  // No descriptor is left for it now.
  }
  return known;
}

bool is_plain_socket(PyObject* sock) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(sock)) != asyncio_names().socket || !know_socket_fields())
    return false;
  const SocketFields& fields = SocketFields::of(sock);
  return fields.fd >= 0 && fields.timeout_ns == 0;
}

}  // namespace python
