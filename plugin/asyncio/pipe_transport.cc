#include "plugin/asyncio/pipe_transport.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "plugin/asyncio/derived_type.h"
#include "plugin/asyncio/transport_names.h"

namespace python {
namespace {

constexpr std::size_t kReadMost = 64 * 1024;  // What a pipe of Linux holds.

PyObject* asyncios = nullptr;  // asyncio.unix_events._UnixReadPipeTransport

long number(PyObject* self, PyObject* name) {
  const PyRef value = py_check(PyObject_GetAttr(self, name));
  const long found = PyLong_AsLong(value.get());
  if (found == -1 && PyErr_Occurred()) throw PyError{};
  return found;
}

// The end of the data is found again by asyncio's.
void read_ready(PyObject* self) {
  static char shared[kReadMost];  // The GIL protects it.
  static PyObject* const fileno = TransportNames::interned("_fileno");
  static PyObject* const max_size = TransportNames::interned("max_size");
  static PyObject* const protocol = TransportNames::interned("_protocol");
  const auto most = static_cast<std::size_t>(std::max(number(self, max_size), 0L));
  const ssize_t got = read(static_cast<int>(number(self, fileno)), shared, std::min(most, sizeof shared));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    call_method(asyncios, transport_names().read_ready, self);
    return;
  }
  const PyRef data = py_check(PyBytes_FromStringAndSize(shared, got));
  call_method(py_check(PyObject_GetAttr(self, protocol)).get(), transport_names().data_received, data.get());
}

PyObject* read_ready_method(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { read_ready(self); });
}

PyMethodDef methods[] = {
    {"_read_ready", read_ready_method, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyObject* make_type() {
  asyncios = imported("asyncio.unix_events", "_UnixReadPipeTransport").release();
  return derived_type(asyncios, "_ReadPipeTransport", "The transport of a pipe's reading end.", methods)
      .release();
}

// Errors of a socket and the end of a terminal's input are told once, and asyncio's must get them.
bool is_fifo(PyObject* args) {
  const PyRef number = PyRef::steal(PyTuple_GET_SIZE(args) > 0
                                        ? PyObject_CallMethod(PyTuple_GET_ITEM(args, 0), "fileno", nullptr)
                                        : nullptr);
  const long fd = number && PyLong_Check(number.get()) ? PyLong_AsLong(number.get()) : -1;
  PyErr_Clear();  // asyncio's raises it again.
  struct stat status;
  return fd >= 0 && fd <= INT_MAX && fstat(static_cast<int>(fd), &status) == 0 && S_ISFIFO(status.st_mode);
}

}  // namespace

PyObject* make_read_pipe_transport(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static PyObject* type = nullptr;
    if (type == nullptr) type = make_type();
    return call_with_first(is_fifo(args) ? type : asyncios, loop, args, kwargs);
  });
}

}  // namespace python
