#include "plugin/asyncio/sock_operation.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/coroutine_object.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/event_loop_fields.h"
#include "plugin/asyncio/socket_fields.h"
#include "plugin/asyncio/transport_names.h"
#include "plugin/python/except_clause.h"
#include "plugin/python/static_type.h"

namespace python {
namespace {

struct SockOperation;

// What differs between the methods.
struct Kind {
  const char* name;
  int event;
  // Each tries once: the result; null where the kernel says later. Throws PyError.
  PyRef (*attempt)(SockOperation& operation);  // Once the descriptor is ready.
  PyRef (*begin)(SockOperation& operation);
};

struct SockOperation {
  CoroutineObject coroutine;
  const Kind* kind;
  PyObject* loop;
  PyObject* sock;
  PyObject* argument;  // Of the method, after the socket; or null.
  Py_buffer data;      // Of sendall, while it waits: what is to be sent.
  std::size_t size;    // Of recv: how much at most. Of sendall: how much has been sent.
  int fd;              // -1 while it does not wait.
};

SockOperation& operation_of(PyObject* self) noexcept { return *reinterpret_cast<SockOperation*>(self); }
PyObject* self_of(const SockOperation& operation) noexcept {
  return reinterpret_cast<PyObject*>(const_cast<SockOperation*>(&operation));
}

// -1 where the kernel says later.
ssize_t checked(ssize_t result) {
  if (result < 0 && !is_for_later(errno)) raise_errno(errno);
  return result;
}

int descriptor(const SockOperation& operation) noexcept { return SocketFields::of(operation.sock).fd; }

// --- recv, recv_into, sendall ---------------------------------------------------------------

// Few bytes come by way of memory that all share, so that their object is no larger than they are: nobody
// else has the GIL meanwhile.
PyRef attempt_recv(SockOperation& operation) {
  static char few[64 * 1024];
  if (operation.size == 0) return py_check(PyBytes_FromStringAndSize(nullptr, 0));  // As socket.recv().
  if (operation.size <= sizeof few) {
    const ssize_t got = checked(recv(descriptor(operation), few, operation.size, MSG_DONTWAIT));
    return got < 0 ? PyRef() : py_check(PyBytes_FromStringAndSize(few, got));
  }
  PyRef many = py_check(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(operation.size)));
  const ssize_t got =
      checked(recv(descriptor(operation), PyBytes_AS_STRING(many.get()), operation.size, MSG_DONTWAIT));
  if (got < 0) return {};
  PyObject* resized = many.release();
  py_check_status(_PyBytes_Resize(&resized, got));
  return PyRef::steal(resized);
}

// The buffer is its owner's between the attempts, who may change its size.
PyRef attempt_recv_into(SockOperation& operation) {
  Py_buffer room;
  py_check_status(PyObject_GetBuffer(operation.argument, &room, PyBUF_WRITABLE));
  const auto size = static_cast<std::size_t>(room.len);
  const ssize_t got = size == 0 ? 0 : recv(descriptor(operation), room.buf, size, MSG_DONTWAIT);
  const int error = errno;
  PyBuffer_Release(&room);
  errno = error;
  return checked(got) < 0 ? PyRef() : py_check(PyLong_FromSsize_t(got));
}

PyRef attempt_sendall(SockOperation& operation) {
  const char* const from = static_cast<const char*>(operation.data.buf) + operation.size;
  const std::size_t left = static_cast<std::size_t>(operation.data.len) - operation.size;
  const ssize_t sent = checked(send(descriptor(operation), from, left, MSG_DONTWAIT | MSG_NOSIGNAL));
  operation.size += static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
  return operation.size == static_cast<std::size_t>(operation.data.len) ? none() : PyRef();
}

PyRef begin_sendall(SockOperation& operation) {
  py_check_status(PyObject_GetBuffer(operation.argument, &operation.data, PyBUF_SIMPLE));
  return attempt_sendall(operation);
}

// --- accept, connect ------------------------------------------------------------------------

bool says_later() noexcept {
  return PyErr_ExceptionMatches(PyExc_BlockingIOError) || PyErr_ExceptionMatches(PyExc_InterruptedError);
}

PyRef attempt_accept(SockOperation& operation) {
  PyRef accepted = PyRef::steal(PyObject_CallMethod(operation.sock, "accept", nullptr));
  if (!accepted) {
    if (!says_later()) throw PyError{};
    PyErr_Clear();
    return {};
  }
  const PyRef connection = py_check(PySequence_GetItem(accepted.get(), 0));
  py_check(PyObject_CallMethod(connection.get(), "setblocking", "O", Py_False));
  return accepted;
}

// As asyncio tells the address, which it has resolved.
PyRef shown_address(const SockOperation& operation) {
  PyObject* const address = operation.argument;
  if (SocketFields::of(operation.sock).family != AF_INET6) return PyRef::borrow(address);
  return py_check(Py_BuildValue("(OOii)", PyTuple_GET_ITEM(address, 0), PyTuple_GET_ITEM(address, 1), 0, 0));
}

PyRef begin_connect(SockOperation& operation) {
  static PyObject* const name = TransportNames::interned("connect_ex");
  const PyRef said = call_method(operation.sock, name, operation.argument);
  const int error = static_cast<int>(PyLong_AsLong(said.get()));
  if (error == 0) return none();
  if (error == EINPROGRESS || error == EALREADY || is_for_later(error)) return {};
  raise_errno(error);
}

// The descriptor can be written to: connected, or not.
PyRef attempt_connect(SockOperation& operation) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(descriptor(operation), SOL_SOCKET, SO_ERROR, &error, &size) != 0) raise_errno(errno);
  if (error == 0) return none();
  const PyRef text = py_check(PyUnicode_FromFormat("Connect call failed %S", shown_address(operation).get()));
  const PyRef raised = py_check(PyObject_CallFunction(PyExc_OSError, "iO", error, text.get()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.get())), raised.get());
  if (!says_later()) throw PyError{};
  PyErr_Clear();
  return {};
}

constexpr Kind kRecv{"sock_recv", EV_READ, attempt_recv, attempt_recv};
constexpr Kind kRecvInto{"sock_recv_into", EV_READ, attempt_recv_into, attempt_recv_into};
constexpr Kind kSendall{"sock_sendall", EV_WRITE, attempt_sendall, begin_sendall};
constexpr Kind kAccept{"sock_accept", EV_READ, attempt_accept, attempt_accept};
constexpr Kind kConnect{"sock_connect", EV_WRITE, attempt_connect, begin_connect};

// --- The coroutine --------------------------------------------------------------------------

EventLoop& loop_of(const SockOperation& operation) noexcept { return python::loop_of(operation.loop); }

void wait(SockOperation& operation) {
  EventLoop& loop = loop_of(operation);
  const int fd = descriptor(operation);
  loop.check_no_transport(fd);
  loop.check_closed();
  static PyObject* const create_future = TransportNames::interned("create_future");
  operation.coroutine.future = call_method(operation.loop, create_future).release();
  loop.fds().add_operation(operation.kind->event, fd, operation.sock, PyRef::borrow(self_of(operation)));
  operation.fd = fd;
}

PyRef step(PyObject* self) {
  SockOperation& operation = operation_of(self);
  if (SocketFields::of(operation.sock).timeout_ns != 0 && loop_of(operation).debug())
    raise(PyExc_ValueError, "the socket must be non-blocking");
  PyRef result = operation.kind->begin(operation);
  if (!result) wait(operation);
  return result;
}

void stop_waiting(SockOperation& operation) noexcept {
  const int fd = std::exchange(operation.fd, -1);
  EventLoop& loop = loop_of(operation);
  if (fd >= 0 && !loop.is_closed())
    loop.fds().remove_operation(operation.kind->event, fd, self_of(operation));
}

void release_data(SockOperation& operation) noexcept {
  if (operation.data.obj != nullptr) PyBuffer_Release(&operation.data);
}

void end(PyObject* self) noexcept {
  const PyRef kept = PyRef::borrow(self);  // Its watch may own the last reference.
  SockOperation& operation = operation_of(self);
  stop_waiting(operation);
  release_data(operation);
}

// Another operation or a reader may have taken its place since its descriptor was ready.
bool is_watched(const SockOperation& operation) noexcept {
  EventLoop& loop = loop_of(operation);
  return !loop.is_closed() && loop.fds().is_for(operation.kind->event, operation.fd, self_of(operation));
}

// --- The object -----------------------------------------------------------------------------

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  const SockOperation& operation = operation_of(self);
  Py_VISIT(operation.coroutine.future);
  Py_VISIT(operation.loop);
  Py_VISIT(operation.sock);
  Py_VISIT(operation.argument);
  Py_VISIT(operation.data.obj);
  return 0;
}

// Not the loop: a watch of the loop's owns this while it waits.
int clear(PyObject* self) noexcept {
  SockOperation& operation = operation_of(self);
  Py_CLEAR(operation.coroutine.future);
  release_data(operation);
  Py_CLEAR(operation.argument);
  return 0;
}

void deallocate(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  SockOperation& operation = operation_of(self);
  coroutine_dies(self);
  clear(self);
  Py_CLEAR(operation.sock);
  Py_CLEAR(operation.loop);
  PyObject_GC_Del(self);
}

PyTypeObject* operation_type() {
  return static_type<SockOperation>("uwsgi_tornado._SockOperation", [](PyTypeObject& t) {
    be_coroutine(t);
    t.tp_doc = "What a loop's sock_recv() and the like do, once it is awaited.";
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_dealloc = deallocate;
  });
}

PyRef make(const Kind& kind, PyObject* loop, PyObject* sock, PyObject* argument, std::size_t size) {
  static PyTypeObject* const type = operation_type();
  auto* const made = PyObject_GC_New(SockOperation, type);
  if (made == nullptr) throw PyError{};
  made->coroutine.begin(kind.name, step, end);
  made->kind = &kind;
  made->loop = PyRef::borrow(loop).release();
  made->sock = PyRef::borrow(sock).release();
  made->argument = PyRef::borrow(argument).release();
  made->data.obj = nullptr;
  made->size = size;
  made->fd = -1;
  PyObject_GC_Track(made);
  return PyRef::steal(reinterpret_cast<PyObject*>(made));
}

// --- The methods ----------------------------------------------------------------------------

// As SocketTransport's: asyncio's own method.
PyRef ask_asyncio(const char* method, PyObject* loop, PyObject* args, PyObject* kwargs) {
  const PyRef function = py_check(PyObject_GetAttrString(asyncio_names().base_loop, method));
  const PyRef bound = py_check(PyMethod_New(function.get(), loop));
  return py_check(PyObject_Call(bound.get(), args, kwargs));
}

bool can_be_sent(PyObject* data) noexcept {
  if (PyBytes_CheckExact(data) || PyByteArray_CheckExact(data)) return true;
  return PyMemoryView_Check(data) && PyMemoryView_GET_BUFFER(data)->itemsize == 1 &&
         PyMemoryView_GET_BUFFER(data)->ndim == 1 &&
         PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(data), 'C');
}

bool can_be_filled(PyObject* room) noexcept {
  return PyByteArray_CheckExact(room) ||
         (PyMemoryView_Check(room) && !PyMemoryView_GET_BUFFER(room)->readonly && can_be_sent(room));
}

// Whether an address needs no resolver, and means what it says: (host, port) with numbers, or a unix
// socket's.
bool is_resolved(PyObject* sock, PyObject* address) noexcept {
  const int family = SocketFields::of(sock).family;
  if (family == AF_UNIX) return true;
  if ((family != AF_INET && family != AF_INET6) || !PyTuple_CheckExact(address)) return false;
  if (PyTuple_GET_SIZE(address) != 2 || !PyLong_CheckExact(PyTuple_GET_ITEM(address, 1))) return false;
  PyObject* const host = PyTuple_GET_ITEM(address, 0);
  char number[sizeof(in6_addr)];
  const char* const text = PyUnicode_CheckExact(host) ? PyUnicode_AsUTF8(host) : nullptr;
  if (text == nullptr) PyErr_Clear();
  return text != nullptr && inet_pton(family, text, number) == 1;
}

// Runs `make_one(sock, argument)` where the method was called as nearly everybody does, with `count`
// arguments by position; it returns null for what asyncio must do.
template <typename MakeOne>
PyObject* operate(const Kind& kind, Py_ssize_t count, PyObject* loop, PyObject* args, PyObject* kwargs,
                  MakeOne make_one) noexcept {
  return py_boundary([=] {
    if (kwargs == nullptr && PyTuple_GET_SIZE(args) == count && is_plain_socket(PyTuple_GET_ITEM(args, 0))) {
      PyRef made = make_one(PyTuple_GET_ITEM(args, 0), count > 1 ? PyTuple_GET_ITEM(args, 1) : nullptr);
      if (made) return made;
    }
    return ask_asyncio(kind.name, loop, args, kwargs);
  });
}

}  // namespace

PyObject* sock_recv(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return operate(kRecv, 2, loop, args, kwargs, [=](PyObject* sock, PyObject* size) {
    const Py_ssize_t most = PyLong_CheckExact(size) ? PyLong_AsSsize_t(size) : -1;
    PyErr_Clear();
    return most < 0 ? PyRef() : make(kRecv, loop, sock, nullptr, static_cast<std::size_t>(most));
  });
}

PyObject* sock_recv_into(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return operate(kRecvInto, 2, loop, args, kwargs, [=](PyObject* sock, PyObject* room) {
    return can_be_filled(room) ? make(kRecvInto, loop, sock, room, 0) : PyRef();
  });
}

PyObject* sock_sendall(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return operate(kSendall, 2, loop, args, kwargs, [=](PyObject* sock, PyObject* data) {
    return can_be_sent(data) ? make(kSendall, loop, sock, data, 0) : PyRef();
  });
}

PyObject* sock_accept(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return operate(kAccept, 1, loop, args, kwargs,
                 [=](PyObject* sock, PyObject*) { return make(kAccept, loop, sock, nullptr, 0); });
}

PyObject* sock_connect(PyObject* loop, PyObject* args, PyObject* kwargs) noexcept {
  return operate(kConnect, 2, loop, args, kwargs, [=](PyObject* sock, PyObject* address) {
    return is_resolved(sock, address) ? make(kConnect, loop, sock, address, 0) : PyRef();
  });
}

bool is_sock_operation(PyObject* object) noexcept {
  static PyTypeObject* const type = operation_type();
  return Py_TYPE(object) == type;
}

void sock_operation_ready(PyObject* self) {
  SockOperation& operation = operation_of(self);
  if (operation.fd < 0 || operation.coroutine.future == nullptr || !is_watched(operation)) return;
  const PyRef future = PyRef::borrow(operation.coroutine.future);
  if (is_done(future.get())) return stop_waiting(operation);  // Cancelled.
  static PyObject* const set_result = TransportNames::interned("set_result");
  static PyObject* const set_exception = TransportNames::interned("set_exception");
  try {
    const PyRef result = operation.kind->attempt(operation);
    if (!result) return;
    stop_waiting(operation);
    call_method(future.get(), set_result, result.get());
    return;
  } catch (const PyError&) {
    if (is_exit_pending()) throw;
  }
  const PyRef exception = take_exception();
  const ExceptClause handled(exception);
  stop_waiting(operation);
  call_method(future.get(), set_exception, exception.get());
}

}  // namespace python
