#include "plugin/tornado/io_loop_methods.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {
namespace {

PyRef descriptor_named_by(PyObject* file) {
  if (PyLong_Check(file)) return PyRef::borrow(file);
  return py_check(PyObject_CallMethod(file, "fileno", nullptr));
}

// (file, handler, events), or nothing.
PyRef entry_of(const TornadoIoLoop& tornado_loop, PyObject* fd) {
  PyRef entry = PyRef::borrow(PyDict_GetItemWithError(tornado_loop.handlers, fd));
  if (!entry && PyErr_Occurred()) throw PyError{};
  return entry;
}

void watch(TornadoIoLoop& tornado_loop, PyObject* fd, long event, bool on) {
  const bool reads = event == kRead;
  if (!on) {
    py_check(
        PyObject_CallMethod(tornado_loop.asyncio_loop, reads ? "remove_reader" : "remove_writer", "O", fd));
    return;
  }
  const PyRef handle_events = py_check(PyObject_GetAttrString(tornado_loop.object(), "_handle_events"));
  py_check(PyObject_CallMethod(tornado_loop.asyncio_loop, reads ? "add_reader" : "add_writer", "OOOl", fd,
                               handle_events.get(), fd, event));
}

void change(TornadoIoLoop& tornado_loop, PyObject* fd, long before, long after) {
  for (const long event : {kRead, kWrite}) {
    if ((before & event) != (after & event)) watch(tornado_loop, fd, event, (after & event) != 0);
  }
}

void keep(TornadoIoLoop& tornado_loop, PyObject* fd, PyObject* file, PyObject* handler, long events) {
  const PyRef entry = py_check(Py_BuildValue("(OOl)", file, handler, events));
  py_check_status(PyDict_SetItem(tornado_loop.handlers, fd, entry.get()));
}

long events_of(const PyRef& entry) noexcept { return PyLong_AsLong(PyTuple_GET_ITEM(entry.get(), 2)); }

// A descriptor that cannot be watched is not left with half of its handlers.
void add(TornadoIoLoop& tornado_loop, PyObject* fd, PyObject* file, PyObject* handler, long events) {
  keep(tornado_loop, fd, file, handler, events);
  try {
    change(tornado_loop, fd, kNone, events);
  } catch (const PyError&) {
    const ErrorAside error;
    forget_handler(tornado_loop, fd);
    throw;
  }
}

}  // namespace

void forget_handler(TornadoIoLoop& tornado_loop, PyObject* fd) {
  const PyRef entry = entry_of(tornado_loop, fd);
  if (!entry) return;
  py_check_status(PyDict_DelItem(tornado_loop.handlers, fd));
  change(tornado_loop, fd, events_of(entry), kNone);
}

PyObject* add_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *file, *handler;
    long events;
    parse_arguments(args, kwargs, "OOl:add_handler", {"fd", "handler", "events"}, &file, &handler, &events);
    const PyRef fd = descriptor_named_by(file);
    if (entry_of(tornado_loop_of(self), fd.get())) {
      raise(PyExc_ValueError, "fd %S added twice", fd.get());
    }
    add(tornado_loop_of(self), fd.get(), file, handler, events);
  });
}

PyObject* update_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject* file;
    long events;
    parse_arguments(args, kwargs, "Ol:update_handler", {"fd", "events"}, &file, &events);
    const PyRef fd = descriptor_named_by(file);
    const PyRef entry = entry_of(tornado_loop_of(self), fd.get());
    if (!entry) {
      PyErr_SetObject(PyExc_KeyError, fd.get());
      throw PyError{};
    }
    change(tornado_loop_of(self), fd.get(), events_of(entry), events);
    keep(tornado_loop_of(self), fd.get(), PyTuple_GET_ITEM(entry.get(), 0), PyTuple_GET_ITEM(entry.get(), 1),
         events);
  });
}

PyObject* remove_handler(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] { forget_handler(tornado_loop_of(self), descriptor_named_by(file).get()); });
}

PyObject* handle_events(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject *fd, *events;
    if (!PyArg_ParseTuple(args, "OO", &fd, &events)) throw PyError{};
    const PyRef entry = entry_of(tornado_loop_of(self), fd);
    if (!entry) return none();
    return py_check(PyObject_CallFunctionObjArgs(PyTuple_GET_ITEM(entry.get(), 1),
                                                 PyTuple_GET_ITEM(entry.get(), 0), events, nullptr));
  });
}

}  // namespace python::io_loop
