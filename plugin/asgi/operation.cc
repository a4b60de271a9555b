#include "plugin/asgi/operation.h"

#include <utility>

#include "plugin/asgi/connection.h"
#include "plugin/asyncio/coroutine_object.h"
#include "plugin/python/static_type.h"

namespace asgi {
namespace {

using python::PyRef;

struct Operation {
  python::CoroutineObject coroutine;
  PyObject* connection;
  PyObject* message;  // To send; null: this one receives. Or it has been sent.
  bool sends;
};

Operation& operation_of(PyObject* self) noexcept { return *reinterpret_cast<Operation*>(self); }

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(operation_of(self).coroutine.future);
  Py_VISIT(operation_of(self).connection);
  Py_VISIT(operation_of(self).message);
  return 0;
}

int clear(PyObject* self) noexcept {
  Py_CLEAR(operation_of(self).coroutine.future);
  Py_CLEAR(operation_of(self).message);
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  python::coroutine_dies(self);
  clear(self);
  Py_CLEAR(operation_of(self).connection);
  Py_TYPE(self)->tp_free(self);
}

// The result; null: `future` is what it waits for.
PyRef step(PyObject* self) {
  Operation& operation = operation_of(self);
  Connection& connection = Connection::of(operation.connection);
  connection.check_thread();
  if (!operation.sends) {
    PyRef message = connection.receive();
    if (!message) operation.coroutine.future = connection.message_future().release();
    return message;
  }
  if (const PyRef message = PyRef::steal(std::exchange(operation.message, nullptr)))
    connection.send(message.get());
  if (connection.has_room()) return python::none();
  operation.coroutine.future = connection.room_future().release();
  return {};
}

PyTypeObject* operation_type() {
  return python::static_type<Operation>("uwsgi_tornado._Operation", [](PyTypeObject& t) {
    python::be_coroutine(t);
    t.tp_doc = "What receive() or send() of an ASGI application returns.";
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_dealloc = dealloc;
  });
}

PyRef make(const char* name, PyObject* connection, PyObject* message) {
  PyRef made = python::py_check(PyType_GenericAlloc(operation_type(), 0));
  Operation& operation = operation_of(made.get());
  operation.coroutine.begin(name, step, nullptr, python::CoroutineObject::AfterFuture::kGoesOn);
  operation.connection = PyRef::borrow(connection).release();
  operation.message = PyRef::borrow(message).release();
  operation.sends = message != nullptr;
  return made;
}

}  // namespace

PyRef receive_operation(PyObject* connection) { return make("receive", connection, nullptr); }
PyRef send_operation(PyObject* connection, PyObject* message) { return make("send", connection, message); }

}  // namespace asgi
