// The Python type uwsgi_tornado.EventLoop: what its methods take and give.
#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/await.h"
#include "plugin/asyncio/datagram_transport.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/event_loop_fields.h"
#include "plugin/asyncio/event_loop_process.h"
#include "plugin/asyncio/pipe_transport.h"
#include "plugin/asyncio/sock_operation.h"
#include "plugin/asyncio/transport.h"
#include "plugin/python/state_fields.h"
#include "plugin/python/static_type.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

// --- Arguments of the calls that schedule ------------------------------------------------------

struct Scheduled {
  PyObject* moment = nullptr;  // `delay` or `when`, where the method takes one.
  Call call{};
};

bool is_named(PyObject* name, const char* text) noexcept {
  return PyUnicode_CompareWithASCIIString(name, text) == 0;
}

[[noreturn]] void throw_missing(const char* method, const char* name) {
  raise(PyExc_TypeError, "%s() missing required argument '%s'", method, name);
}

// method([moment,] callback, *args, context=None). `moment` is null for the methods without.
Scheduled parse(const char* method, const char* moment, PyObject* const* args, Py_ssize_t count,
                PyObject* names) {
  Scheduled parsed;
  const Py_ssize_t leading = moment == nullptr ? 1 : 2;
  if (moment != nullptr && count >= 1) parsed.moment = args[0];
  if (count >= leading) {
    parsed.call.callback = args[leading - 1];
    parsed.call.args = args + leading;
    parsed.call.count = static_cast<std::size_t>(count - leading);
  }
  for (Py_ssize_t i = 0; names != nullptr && i < PyTuple_GET_SIZE(names); ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    PyObject* const value = args[count + i];
    if (is_named(name, "context")) {
      parsed.call.context = value == Py_None ? nullptr : value;
    } else if (parsed.call.callback == nullptr && is_named(name, "callback")) {
      parsed.call.callback = value;
    } else if (moment != nullptr && parsed.moment == nullptr && is_named(name, moment)) {
      parsed.moment = value;
    } else {
      raise(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", method, name);
    }
  }
  if (moment != nullptr && parsed.moment == nullptr) throw_missing(method, moment);
  if (parsed.call.callback == nullptr) throw_missing(method, "callback");
  return parsed;
}

PyObject* call_soon(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  return py_boundary(
      [=] { return loop_of(self).call_soon(parse("call_soon", nullptr, args, count, names).call); });
}

PyObject* call_soon_threadsafe(PyObject* self, PyObject* const* args, Py_ssize_t count,
                               PyObject* names) noexcept {
  return py_boundary([=] {
    return loop_of(self).call_soon_threadsafe(
        parse("call_soon_threadsafe", nullptr, args, count, names).call);
  });
}

PyObject* call_later(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  return py_boundary([=] {
    const Scheduled parsed = parse("call_later", "delay", args, count, names);
    if (parsed.moment == Py_None) {
      raise(PyExc_TypeError, "delay must not be None");
    }
    EventLoop& loop = loop_of(self);
    return loop.call_at(loop.time_in(as_double(parsed.moment)), nullptr, parsed.call);
  });
}

PyObject* call_at(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  return py_boundary([=] {
    const Scheduled parsed = parse("call_at", "when", args, count, names);
    if (parsed.moment == Py_None) {
      raise(PyExc_TypeError, "when cannot be None");
    }
    PyObject* const given = PyFloat_CheckExact(parsed.moment) ? nullptr : parsed.moment;
    return loop_of(self).call_at(as_double(parsed.moment), given, parsed.call);
  });
}

// _call_soon(callback, args, context)
PyObject* call_soon_with(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject *callback, *arguments, *context;
    if (!PyArg_ParseTuple(args, "OO!O", &callback, &PyTuple_Type, &arguments, &context)) throw PyError{};
    return loop_of(self).call_soon({callback, PySequence_Fast_ITEMS(arguments),
                                    static_cast<std::size_t>(PyTuple_GET_SIZE(arguments)),
                                    context == Py_None ? nullptr : context});
  });
}

PyObject* add_callback(PyObject* self, PyObject* handle) noexcept {
  return py_boundary([=] {
    const PyRef cancelled = py_check(PyObject_GetAttrString(handle, "_cancelled"));
    if (!PyObject_IsTrue(cancelled.get())) loop_of(self).add_ready(PyRef::borrow(handle));
    return none();
  });
}

// --- Readers and writers -----------------------------------------------------------------------

void ensure_no_transport_of(PyObject* self, PyObject* file) {
  if (PyLong_CheckExact(file)) {
    const long fd = PyLong_AsLong(file);
    PyErr_Clear();  // Whoever watches it refuses the number.
    return loop_of(self).check_no_transport(fd);
  }
  py_check(PyObject_CallMethod(asyncio_names().base_loop, "_ensure_fd_no_transport", "OO", self, file));
}

PyRef add(int event, const char* method, PyObject* self, PyObject* const* args, Py_ssize_t count,
          bool checked) {
  if (count < 2) throw_missing(method, count < 1 ? "fd" : "callback");
  if (checked) ensure_no_transport_of(self, args[0]);
  loop_of(self).check_closed();
  PyRef handle = loop_of(self).fds().add(event, args[0],
                                         {args[1], args + 2, static_cast<std::size_t>(count - 2), nullptr});
  return checked ? none() : handle;
}

PyRef remove(int event, PyObject* self, PyObject* file, bool checked) {
  if (checked) ensure_no_transport_of(self, file);
  return boolean(!loop_of(self).is_closed() && loop_of(self).fds().remove(event, file));
}

PyObject* add_reader(PyObject* self, PyObject* const* args, Py_ssize_t count) noexcept {
  return py_boundary([=] { return add(EV_READ, "add_reader", self, args, count, true); });
}
PyObject* add_reader_unchecked(PyObject* self, PyObject* const* args, Py_ssize_t count) noexcept {
  return py_boundary([=] { return add(EV_READ, "_add_reader", self, args, count, false); });
}
PyObject* add_writer(PyObject* self, PyObject* const* args, Py_ssize_t count) noexcept {
  return py_boundary([=] { return add(EV_WRITE, "add_writer", self, args, count, true); });
}
PyObject* add_writer_unchecked(PyObject* self, PyObject* const* args, Py_ssize_t count) noexcept {
  return py_boundary([=] { return add(EV_WRITE, "_add_writer", self, args, count, false); });
}
PyObject* remove_reader(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] { return remove(EV_READ, self, file, true); });
}
PyObject* remove_reader_unchecked(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] { return remove(EV_READ, self, file, false); });
}
PyObject* remove_writer(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] { return remove(EV_WRITE, self, file, true); });
}
PyObject* remove_writer_unchecked(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] { return remove(EV_WRITE, self, file, false); });
}
PyObject* ensure_fd_no_transport(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] { ensure_no_transport_of(self, file); });
}

// --- Signals -----------------------------------------------------------------------------------

// asyncio's methods drop the process's wake-up descriptor with the last handler, also as they fail.
PyObject* change_signal_handlers(const char* method, PyObject* self, PyObject* args,
                                 PyObject* kwargs) noexcept {
  return py_boundary([=] {
    const PyRef function = py_check(PyObject_GetAttrString(asyncio_names().base_loop, method));
    const PyRef bound = py_check(PyMethod_New(function.get(), self));
    PyRef result = PyRef::steal(PyObject_Call(bound.get(), args, kwargs));
    if (loop_of(self).is_running()) loop_of(self).signals().handlers_changed();
    return result ? std::move(result) : throw PyError{};
  });
}

PyObject* add_signal_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return change_signal_handlers("add_signal_handler", self, args, kwargs);
}
PyObject* remove_signal_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return change_signal_handlers("remove_signal_handler", self, args, kwargs);
}

// --- Running -----------------------------------------------------------------------------------

PyObject* run_forever(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    loop_of(self).run_forever();
    return none();
  });
}

// In a request the worker's loop runs already, beside it: the request waits for the future alone.
PyObject* run_until_complete(PyObject* self, PyObject* future) noexcept {
  return py_boundary([=] {
    const EventLoop& loop = loop_of(self);
    if (loop.attached() && loop.is_running() && VirtualThread::current() != nullptr)
      return await_in_request(future, nullptr);
    return py_check(PyObject_CallMethod(asyncio_names().base_loop, "run_until_complete", "OO", self, future));
  });
}

PyObject* run_once(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    loop_of(self).turn();
    return none();
  });
}

PyObject* stop(PyObject* self, PyObject*) noexcept {
  loop_of(self).stop();
  return none().release();
}

PyObject* is_running(PyObject* self, PyObject*) noexcept {
  return PyBool_FromLong(loop_of(self).is_running());
}
PyObject* is_closed(PyObject* self, PyObject*) noexcept { return PyBool_FromLong(loop_of(self).is_closed()); }
PyObject* get_debug(PyObject* self, PyObject*) noexcept { return PyBool_FromLong(loop_of(self).debug()); }
PyObject* time(PyObject*, PyObject*) noexcept { return PyFloat_FromDouble(EventLoop::time()); }

PyObject* check_closed(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { loop_of(self).check_closed(); });
}

// asyncio's close() first refuses while the loop runs, and gives the signals back.
PyObject* close(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    py_check(PyObject_CallMethod(asyncio_names().base_loop, "close", "O", self));
    loop_of(self).close();
  });
}

// As asyncio's, which needs names that are gone where the interpreter ends.
PyObject* finalise(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    EventLoop& loop = loop_of(self);
    if (loop.is_closed()) return none();
    py_check_status(PyErr_ResourceWarning(self, 1, "unclosed event loop %R", self));
    if (loop.is_running()) return none();
    if (python_is_finalizing()) {
      loop.set_closed(true);
      loop.close();
    } else {
      py_check(PyObject_CallMethod(self, "close", nullptr));
    }
    return none();
  });
}

PyObject* create_future(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { return loop_of(self).create_future(); });
}

constexpr Py_ssize_t kTaskOptions = 2;

bool are_task_options(PyObject* names) noexcept {
  const Py_ssize_t count = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    if (!is_named(name, "name") && !is_named(name, "context")) return false;
  }
  return count <= kTaskOptions;
}

// asyncio.tasks.Task(coroutine, **options, loop=self)
PyRef make_task(PyObject* self, PyObject* const* args, PyObject* options) {
  static PyObject* const only_loop = py_check(Py_BuildValue("(s)", "loop")).release();
  PyObject* all[1 + kTaskOptions + 1];
  const Py_ssize_t given = options == nullptr ? 0 : PyTuple_GET_SIZE(options);
  std::copy_n(args, 1 + given, all);
  all[1 + given] = self;
  const PyRef names = given == 0 ? PyRef::borrow(only_loop) : py_check(PySequence_Concat(options, only_loop));
  return py_check(vectorcall(task_type().get(), all, 1, names.get()));
}

// asyncio's own method knows task factories and further options. A task's traceback, in debug mode, ends with
// the caller's frame either way: asyncio's method takes its own out.
PyObject* create_task(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) noexcept {
  return py_boundary([=] {
    static PyObject* const factory_name = py_check(PyUnicode_InternFromString("_task_factory")).release();
    static PyObject* const theirs =
        py_check(PyObject_GetAttrString(asyncio_names().base_loop, "create_task")).release();
    loop_of(self).check_closed();
    const PyRef factory = py_check(PyObject_GetAttr(self, factory_name));
    const bool plain = count == 1 && are_task_options(names);
    if (plain && factory.get() == Py_None) return make_task(self, args, names);
    const PyRef method = py_check(PyMethod_New(theirs, self));
    return py_check(vectorcall(method.get(), args, static_cast<std::size_t>(count), names));
  });
}

PyObject* write_to_self(PyObject* self, PyObject*) noexcept {
  loop_of(self).wake();
  return none().release();
}

// asyncio counts the descriptors of its self-pipe. Ours is libev's.
PyObject* set_internal_descriptors(PyObject* self, long count) noexcept {
  return py_boundary([=] {
    py_check_status(PyObject_SetAttrString(self, "_internal_fds", py_check(PyLong_FromLong(count)).get()));
  });
}
PyObject* make_self_pipe(PyObject* self, PyObject*) noexcept { return set_internal_descriptors(self, 1); }
PyObject* close_self_pipe(PyObject* self, PyObject*) noexcept { return set_internal_descriptors(self, 0); }

// --- The types ---------------------------------------------------------------------------------

PyMethodDef core_methods[] = {
    {"call_soon", as_method(call_soon), METH_FASTCALL | METH_KEYWORDS,
     "call_soon($self, callback, /, *args, context=None)\n--\n\nCalls callback(*args) in the next turn; "
     "returns its Handle."},
    {"call_soon_threadsafe", as_method(call_soon_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe($self, callback, /, *args, context=None)\n--\n\nThe same from any thread; wakes "
     "the loop."},
    {"call_later", as_method(call_later), METH_FASTCALL | METH_KEYWORDS,
     "call_later($self, delay, callback, /, *args, context=None)\n--\n\n"
     "Calls callback(*args) in `delay` seconds; returns its TimerHandle."},
    {"call_at", as_method(call_at), METH_FASTCALL | METH_KEYWORDS,
     "call_at($self, when, callback, /, *args, context=None)\n--\n\n"
     "Calls callback(*args) at the time `when` of time(); returns its TimerHandle."},
    {"time", time, METH_NOARGS, "time($self, /)\n--\n\nThe loop's clock, in seconds: time.monotonic()."},
    {"add_reader", as_method(add_reader), METH_FASTCALL,
     "add_reader($self, fd, callback, /, *args)\n--\n\nCalls callback(*args) whenever `fd` can be read."},
    {"add_writer", as_method(add_writer), METH_FASTCALL,
     "add_writer($self, fd, callback, /, *args)\n--\n\nCalls callback(*args) whenever `fd` can be written."},
    {"remove_reader", remove_reader, METH_O,
     "remove_reader($self, fd, /)\n--\n\nUndoes add_reader(). Returns False if there was none."},
    {"remove_writer", remove_writer, METH_O,
     "remove_writer($self, fd, /)\n--\n\nUndoes add_writer(). Returns False if there was none."},
    {"add_signal_handler", as_method(add_signal_handler), METH_VARARGS | METH_KEYWORDS,
     "add_signal_handler($self, sig, callback, /, *args)\n--\n\nCalls callback(*args) in a turn after the "
     "signal has arrived."},
    {"remove_signal_handler", as_method(remove_signal_handler), METH_VARARGS | METH_KEYWORDS,
     "remove_signal_handler($self, sig, /)\n--\n\nUndoes add_signal_handler(). Returns False if there was "
     "none."},
    {"run_forever", run_forever, METH_NOARGS, "run_forever($self, /)\n--\n\nRuns the loop until stop()."},
    {"run_until_complete", run_until_complete, METH_O,
     "run_until_complete($self, future, /)\n--\n\nRuns until the future is done and returns its result. In a "
     "request, on\n"
     "the worker's loop, it suspends the request instead, as await_() does."},
    {"stop", stop, METH_NOARGS, "stop($self, /)\n--\n\nEnds run_forever() after the current turn."},
    {"is_running", is_running, METH_NOARGS, "is_running($self, /)\n--\n\nTrue while the loop runs."},
    {"is_closed", is_closed, METH_NOARGS, "is_closed($self, /)\n--\n\nTrue after close()."},
    {"__del__", finalise, METH_NOARGS, nullptr},
    {"close", close, METH_NOARGS,
     "close($self, /)\n--\n\nDrops all callbacks and shuts the executor down without waiting for it."},
    {"get_debug", get_debug, METH_NOARGS, "get_debug($self, /)\n--\n\nTrue in asyncio's debug mode."},
    {"create_future", create_future, METH_NOARGS, "create_future($self, /)\n--\n\nA Future of this loop."},
    {"create_task", as_method(create_task), METH_FASTCALL | METH_KEYWORDS,
     "create_task($self, coro, **kwargs)\n--\n\nRuns the coroutine as a Task of this loop, which it "
     "returns."},
    {"_add_reader", as_method(add_reader_unchecked), METH_FASTCALL, nullptr},
    {"_add_writer", as_method(add_writer_unchecked), METH_FASTCALL, nullptr},
    {"_remove_reader", remove_reader_unchecked, METH_O, nullptr},
    {"_remove_writer", remove_writer_unchecked, METH_O, nullptr},
    {"_ensure_fd_no_transport", ensure_fd_no_transport, METH_O, nullptr},
    {"_make_socket_transport", as_method(make_socket_transport), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_make_ssl_transport", as_method(make_ssl_transport), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_make_datagram_transport", as_method(make_datagram_transport), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_make_read_pipe_transport", as_method(make_read_pipe_transport), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"sock_recv", as_method(sock_recv), METH_VARARGS | METH_KEYWORDS,
     "sock_recv($self, sock, n)\n--\n\nReceives up to n bytes; a coroutine."},
    {"sock_recv_into", as_method(sock_recv_into), METH_VARARGS | METH_KEYWORDS,
     "sock_recv_into($self, sock, buf)\n--\n\nReceives into a buffer; a coroutine."},
    {"sock_sendall", as_method(sock_sendall), METH_VARARGS | METH_KEYWORDS,
     "sock_sendall($self, sock, data)\n--\n\nSends all of the bytes; a coroutine."},
    {"sock_accept", as_method(sock_accept), METH_VARARGS | METH_KEYWORDS,
     "sock_accept($self, sock)\n--\n\nAccepts a connection, returns (socket, address); a coroutine."},
    {"sock_connect", as_method(sock_connect), METH_VARARGS | METH_KEYWORDS,
     "sock_connect($self, sock, address)\n--\n\nConnects the socket; a coroutine."},
    {"_call_soon", call_soon_with, METH_VARARGS, nullptr},
    {"_add_callback", add_callback, METH_O, nullptr},
    {"_run_once", run_once, METH_NOARGS, nullptr},
    {"_check_closed", check_closed, METH_NOARGS, nullptr},
    {"_write_to_self", write_to_self, METH_NOARGS, nullptr},
    {"_make_self_pipe", make_self_pipe, METH_NOARGS, nullptr},
    {"_close_self_pipe", close_self_pipe, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyRef allocate(PyTypeObject* type, loop::IoLoop* host, EventLoop::OnExit on_exit) {
  PyRef self = py_check(type->tp_alloc(type, 0));
  try {
    reinterpret_cast<CoreObject*>(self.get())->loop = new EventLoop(self.get(), host, on_exit);
  } catch (const std::runtime_error&) {
    raise_errno(errno);
  }
  return self;
}

PyObject* core_new(PyTypeObject* type, PyObject*, PyObject*) noexcept {
  return py_boundary([=] { return allocate(type, nullptr, nullptr); });
}

// asyncio's own __init__ is given this loop in place of a selector, which it only keeps.
int core_init(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  if (PyTuple_GET_SIZE(args) != 0 || (kwargs != nullptr && PyDict_Size(kwargs) != 0)) {
    PyErr_SetString(PyExc_TypeError, "EventLoop() takes no arguments");
    return -1;
  }
  const PyRef done = PyRef::steal(py_boundary(
      [=] { py_check(PyObject_CallMethod(asyncio_names().base_loop, "__init__", "OO", self, self)); }));
  return done ? 0 : -1;
}

int core_traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  const EventLoop* loop = reinterpret_cast<CoreObject*>(self)->loop;
  return loop == nullptr ? 0 : loop->traverse(visit, arg);
}

int core_clear(PyObject* self) noexcept {
  if (EventLoop* loop = reinterpret_cast<CoreObject*>(self)->loop) loop->clear();
  return 0;
}

// Python classes derive from this type, and theirs untrack and free; but nobody makes one of it.
void core_dealloc(PyObject* self) noexcept {
  delete reinterpret_cast<CoreObject*>(self)->loop;
  Py_TYPE(self)->tp_free(self);
}

PyTypeObject* core_type() {
  return static_type<CoreObject>("uwsgi_tornado._EventLoopCore", [](PyTypeObject& t) {
    t.tp_flags |= Py_TPFLAGS_BASETYPE;
    t.tp_methods = core_methods;
    t.tp_getset = event_loop_fields;
    t.tp_new = core_new;
    t.tp_init = core_init;
    t.tp_traverse = core_traverse;
    t.tp_clear = core_clear;
    t.tp_dealloc = core_dealloc;
  });
}

constexpr char kEventLoopDoc[] =
    "EventLoop()\n--\n\n"
    "An asyncio event loop on the C++ IOLoop: asyncio's selector loop, with its turns and its most\n"
    "frequent calls in C++. There may be any number of them; one thread at a time runs each. Use it\n"
    "through run(), EventLoopPolicy, or asyncio.Runner(loop_factory=uwsgi_tornado.EventLoop).";

PyRef make_event_loop_type() {
  const AsyncioNames& names = asyncio_names();
  need_handle_types();
  need_socket_transport_type();
  const PyRef body =
      py_check(Py_BuildValue("{s:s,s:s}", "__module__", "uwsgi_tornado", "__doc__", kEventLoopDoc));
  add_subprocess_methods(body.get());
  add_tls_methods(body.get());
  PyRef type = py_check(PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(OO)O",
                                              "EventLoop", core_type(), names.base_loop, body.get()));
  EventLoop::watch_for_forks();
  return type;
}

}  // namespace

EventLoop* EventLoop::of(PyObject* object) noexcept {
  return PyObject_TypeCheck(object, core_type()) ? reinterpret_cast<CoreObject*>(object)->loop : nullptr;
}

PyObject* event_loop_type() {
  static PyObject* type = nullptr;
  if (type == nullptr) type = make_event_loop_type().release();
  return type;
}

PyRef make_attached_event_loop(loop::IoLoop& host, EventLoop::OnExit on_exit) {
  PyRef self = allocate(reinterpret_cast<PyTypeObject*>(event_loop_type()), &host, on_exit);
  py_check(PyObject_CallMethod(self.get(), "__init__", nullptr));
  return self;
}

}  // namespace python
