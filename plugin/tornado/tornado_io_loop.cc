#include "plugin/tornado/tornado_io_loop.h"

#include <structmember.h>

#include "plugin/asyncio/event_loop.h"
#include "plugin/python/static_type.h"
#include "plugin/tornado/io_loop_methods.h"

namespace python::io_loop {
namespace {

// Where an asyncio loop keeps its IOLoop.
constexpr char kKeptAs[] = "_uwsgi_tornado_io_loop";

PyTypeObject* type_object();

// Nobody sees it before it has its asyncio loop.
PyRef allocate(PyTypeObject* type, PyObject* asyncio_loop) {
  PyRef self = py_check(type->tp_alloc(type, 0));
  TornadoIoLoop& tornado_loop = tornado_loop_of(self.get());
  tornado_loop.handlers = py_check(PyDict_New()).release();
  tornado_loop.asyncio_loop = PyRef::borrow(asyncio_loop).release();
  py_check_status(PyObject_SetAttrString(asyncio_loop, kKeptAs, self.get()));
  return self;
}

}  // namespace

PyRef kept_by(PyObject* asyncio_loop, bool make) {
  PyRef kept = PyRef::steal(PyObject_GetAttrString(asyncio_loop, kKeptAs));
  if (kept) return kept;
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw PyError{};
  PyErr_Clear();
  return make ? allocate(type_object(), asyncio_loop) : PyRef();
}

namespace {

PyObject* new_io_loop(PyTypeObject* type, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *to_be_current = Py_None, *given = Py_None;
    parse_arguments(args, kwargs, "|$OO:IOLoop", {"make_current", "asyncio_loop"}, &to_be_current, &given);
    const bool asked = is_true(PyRef::borrow(to_be_current));
    const bool free = (asked || to_be_current == Py_None) && current(false).get() == Py_None;
    if (asked && !free) raise(PyExc_RuntimeError, "current IOLoop already exists");
    const PyRef loop =
        given == Py_None ? py_check(PyObject_CallObject(event_loop_type(), nullptr)) : PyRef::borrow(given);
    if (kept_by(loop.get(), false)) {
      raise(PyExc_RuntimeError, "%R has an IOLoop already", loop.get());
    }
    PyRef self = allocate(type, loop.get());
    if (free) become_current(tornado_loop_of(self.get()));
    return self;
  });
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(tornado_loop_of(self).asyncio_loop);
  Py_VISIT(tornado_loop_of(self).handlers);
  Py_VISIT(tornado_loop_of(self).loop_before);
  return 0;
}

int clear(PyObject* self) noexcept {
  Py_CLEAR(tornado_loop_of(self).asyncio_loop);
  Py_CLEAR(tornado_loop_of(self).handlers);
  Py_CLEAR(tornado_loop_of(self).loop_before);
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  if (tornado_loop_of(self).weak_references != nullptr) PyObject_ClearWeakRefs(self);
  clear(self);
  Py_TYPE(self)->tp_free(self);
}

PyObject* repr(PyObject* self) noexcept {
  return PyUnicode_FromFormat("<%s of %R>", Py_TYPE(self)->tp_name, tornado_loop_of(self).asyncio_loop);
}

constexpr int kKeywords = METH_VARARGS | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"instance", instance, METH_NOARGS | METH_STATIC,
     "instance()\n--\n\n"
     "In a uWSGI worker, returns the IOLoop that the worker runs, for any caller: a module at import, a\n"
     "request, a callback, a thread. Elsewhere returns current()."},
    {"current", as_method(current_function), kKeywords | METH_STATIC,
     "current(instance=True)\n--\n\n"
     "Returns the IOLoop of the asyncio loop that runs here, otherwise of the thread's current one; for\n"
     "requests that is the worker's. If there is none, the main thread makes one, and other threads get\n"
     "RuntimeError. With instance=False it returns None instead."},
    {"make_current", make_current, METH_NOARGS,
     "make_current($self, /)\n--\n\n"
     "Makes this IOLoop the thread's current one, for asyncio as well (asyncio.set_event_loop())."},
    {"clear_current", clear_current, METH_NOARGS | METH_STATIC,
     "clear_current()\n--\n\n"
     "Undoes make_current() of the thread's current IOLoop."},
    {"install", make_current, METH_NOARGS, "install($self, /)\n--\n\nThe old name of make_current()."},
    {"clear_instance", clear_current, METH_NOARGS | METH_STATIC,
     "clear_instance()\n--\n\nThe old name of clear_current()."},
    {"add_handler", as_method(add_handler), kKeywords,
     "add_handler($self, fd, handler, events)\n--\n\n"
     "Calls handler(fd, events) whenever one of the events happens: READ, WRITE or both. An error is\n"
     "reported as any of them. `fd` is a descriptor or an object with fileno(), and the handler gets the\n"
     "one that was passed. If both events happen at once, there are two calls. Raises ValueError if the\n"
     "descriptor already has a handler."},
    {"update_handler", as_method(update_handler), kKeywords,
     "update_handler($self, fd, events)\n--\n\n"
     "Changes the events to wait for. NONE keeps the handler and waits for nothing. Raises KeyError if\n"
     "the descriptor has no handler."},
    {"remove_handler", remove_handler, METH_O,
     "remove_handler($self, fd, /)\n--\n\n"
     "Removes the handler. Call it before you close the descriptor. Does nothing if there is no handler."},
    {"add_callback", as_method(add_callback), kKeywords,
     "add_callback($self, callback, /, *args, **kwargs)\n--\n\n"
     "Calls callback(*args, **kwargs) in the next turn of the loop. May be called from any thread or\n"
     "request. An exception is logged. If the callback returns an awaitable, it is awaited, and its\n"
     "exception is logged as well. Does nothing once the loop is closed."},
    {"add_callback_from_signal", as_method(add_callback_from_signal), kKeywords,
     "add_callback_from_signal($self, callback, /, *args, **kwargs)\n--\n\nadd_callback() for handlers of "
     "the signal module."},
    {"spawn_callback", as_method(add_callback), kKeywords,
     "spawn_callback($self, callback, /, *args, **kwargs)\n--\n\nadd_callback() under another name."},
    {"add_timeout", as_method(add_timeout), kKeywords,
     "add_timeout($self, deadline, callback, /, *args, **kwargs)\n--\n\n"
     "Calls callback(*args, **kwargs) at the deadline: a time as of time.time(), or a datetime.timedelta\n"
     "from now. Returns the argument for remove_timeout(). Results and exceptions are treated as in\n"
     "add_callback(). May be called on the loop's thread and, in a worker, in requests."},
    {"call_later", as_method(call_later), kKeywords,
     "call_later($self, delay, callback, /, *args, **kwargs)\n--\n\nadd_timeout() in `delay` seconds."},
    {"call_at", as_method(call_at), kKeywords,
     "call_at($self, when, callback, /, *args, **kwargs)\n--\n\nadd_timeout() at the time `when` of time()."},
    {"remove_timeout", remove_timeout, METH_O,
     "remove_timeout($self, timeout, /)\n--\n\n"
     "Cancels what add_timeout(), call_later() or call_at() returned. Does nothing if it was called\n"
     "already."},
    {"add_future", as_method(add_future), kKeywords,
     "add_future($self, future, callback)\n--\n\n"
     "Calls callback(future) on the loop when the asyncio or concurrent.futures future is done. Raises\n"
     "TypeError for other awaitables."},
    {"run_in_executor", run_in_executor, METH_VARARGS,
     "run_in_executor($self, executor, func, /, *args)\n--\n\n"
     "Runs func(*args) in the concurrent.futures executor, or in the loop's own if it is None. Returns a\n"
     "future to await."},
    {"set_default_executor", set_default_executor, METH_O,
     "set_default_executor($self, executor, /)\n--\n\nThe ThreadPoolExecutor that run_in_executor(None, ...) "
     "uses."},
    {"time", time, METH_NOARGS, "time($self, /)\n--\n\nThe clock of deadlines: time.time()."},
    {"start", start, METH_NOARGS,
     "start($self, /)\n--\n\n"
     "Runs the loop until stop(). Raises RuntimeError for a worker's loop, which uWSGI runs."},
    {"stop", stop, METH_NOARGS,
     "stop($self, /)\n--\n\n"
     "Ends start() after the current turn, or the next start() at once. Raises RuntimeError for a\n"
     "worker's loop."},
    {"run_sync", as_method(run_sync), kKeywords,
     "run_sync($self, func, timeout=None)\n--\n\n"
     "Runs the loop until the awaitable that func() returned is done (func() may also return None), and\n"
     "returns its result or raises its exception. After `timeout` seconds it is cancelled and\n"
     "TimeoutError is raised. In a request, on the worker's loop, it suspends the request instead.\n"
     "Raises RuntimeError if the loop runs already."},
    {"close", as_method(close), kKeywords,
     "close($self, all_fds=False)\n--\n\n"
     "Closes this loop and the asyncio loop; with `all_fds`, also the descriptors that have handlers.\n"
     "Raises RuntimeError while the loop runs, and for a worker's loop."},
    {"_run_callback", run_callback, METH_O, nullptr},
    {"_handle_events", handle_events, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"asyncio_loop", T_OBJECT, offsetof(TornadoIoLoop, asyncio_loop), READONLY,
     "The asyncio loop behind this IOLoop."},
    {nullptr, 0, 0, 0, nullptr},
};

constexpr char kDoc[] =
    "IOLoop(*, make_current=None, asyncio_loop=None)\n--\n\n"
    "An asyncio loop with the methods of Tornado's IOLoop, without Tornado. In a uWSGI worker use\n"
    "IOLoop.instance(): the worker's loop, which exists from the application's import on and which\n"
    "uWSGI runs. IOLoop() makes a new EventLoop, or wraps `asyncio_loop`. It becomes the thread's\n"
    "current one if there is none, or if `make_current` is true.";

void add_events(PyTypeObject& type) {
  const struct {
    const char* name;
    long value;
  } events[] = {{"NONE", kNone}, {"READ", kRead}, {"WRITE", kWrite}, {"ERROR", kError}};
  for (const auto& event : events) {
    py_check_status(
        PyDict_SetItemString(type.tp_dict, event.name, py_check(PyLong_FromLong(event.value)).get()));
  }
  PyType_Modified(&type);
}

PyTypeObject* type_object() {
  PyTypeObject* const type = static_type<TornadoIoLoop>("uwsgi_tornado.IOLoop", [](PyTypeObject& t) {
    t.tp_flags |= Py_TPFLAGS_BASETYPE;
    t.tp_doc = kDoc;
    t.tp_methods = methods;
    t.tp_members = members;
    t.tp_weaklistoffset = offsetof(TornadoIoLoop, weak_references);
    t.tp_new = new_io_loop;
    t.tp_repr = repr;
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_dealloc = dealloc;
  });
  static const bool has_events = (add_events(*type), true);
  static_cast<void>(has_events);
  return type;
}

}  // namespace
}  // namespace python::io_loop

namespace python {

PyObject* io_loop_type() { return reinterpret_cast<PyObject*>(io_loop::type_object()); }

}  // namespace python
