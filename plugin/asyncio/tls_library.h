// Objects of the module ssl, called without its Python code.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/python/py_ref.h"

namespace python {

// Looks the objects up once. False where this Python has no module ssl, or one of other names. Throws
// PyError.
bool know_tls_library();
// Whether read() and write() of ssl.SSLObject are Python's: nobody has replaced them. REQUIRES:
// know_tls_library(). Throws PyError.
bool is_tls_library_same();

// Memory as an object with a buffer, for a call that keeps no reference to it.
class MemoryObject {
 public:
  MemoryObject();
  // No other has its memory afterwards.
  ~MemoryObject();
  MemoryObject(const MemoryObject&) = delete;
  MemoryObject& operator=(const MemoryObject&) = delete;

  // The object, with these bytes from now on.
  PyObject* over(char* data, std::size_t size) noexcept;

 private:
  PyRef object_;
};

// The bytes that ssl.MemoryBIO has. The members throw PyError.
class MemoryBio {
 public:
  // Whether it is exactly ssl.MemoryBIO.
  static bool is(PyObject* object) noexcept;
  // REQUIRES: is(object).
  explicit MemoryBio(PyObject* object) noexcept : object_(PyRef::borrow(object)) {}

  std::size_t pending() const;
  void write(char* data, std::size_t size) const;
  PyRef read_all() const;

 private:
  PyRef object_;
};

// The _ssl._SSLSocket of an ssl.SSLObject. The members throw PyError.
class TlsConnection {
 public:
  // Nothing where `object` is of another class, whose methods may do more.
  static TlsConnection of(PyObject* object);
  explicit operator bool() const noexcept { return static_cast<bool>(object_); }

  // How many bytes have been decrypted into `buffer`, at most `most`: 0 where the peer has closed, -1 where
  // nothing is to be had before more arrives. May run signal handlers.
  Py_ssize_t read(Py_ssize_t most, PyObject* buffer) const;
  // How many bytes of `data` have been encrypted; -1 where the peer must be heard first.
  Py_ssize_t write(PyObject* data) const;
  // Decrypted bytes that were not read.
  std::size_t pending() const;

 private:
  explicit TlsConnection(PyRef object) noexcept : object_(std::move(object)) {}
  PyRef object_;
};

}  // namespace python
