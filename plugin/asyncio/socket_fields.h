// What a socket object of Python's has, read without a call.
#pragma once

#include <Python.h>

#include <cstdint>

namespace python {

// The first fields of _socket.socket, the same from CPython 3.8 to 3.14. know_socket_fields() checks them.
struct SocketFields {
  PyObject_HEAD int fd;  // -1 once closed or detached.
  int family;
  int type;
  int protocol;
  void* error_handler;
  std::int64_t timeout_ns;  // 0 for one that does not block.

  static const SocketFields& of(PyObject* sock) noexcept {
    return *reinterpret_cast<const SocketFields*>(sock);
  }
};

// Compares with a socket what its methods say, once; false where they differ, and as long as no descriptor is
// left to compare with. REQUIRES: asyncio_names() may import asyncio. Throws PyError.
bool know_socket_fields();

// Exactly a socket.socket that does not block and is open: what its methods do is known.
bool is_plain_socket(PyObject* sock);

}  // namespace python
