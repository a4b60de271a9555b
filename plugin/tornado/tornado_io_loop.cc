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

// Until it is given its asyncio loop nobody sees it.
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
    static const char* const names[] = {"make_current", "asyncio_loop", nullptr};
    PyObject *to_be_current = Py_None, *given = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO:IOLoop", const_cast<char**>(names), &to_be_current,
                                     &given))
      throw PyError{};
    const bool asked = is_true(PyRef::borrow(to_be_current));
    const bool free = (asked || to_be_current == Py_None) && current(false).get() == Py_None;
    if (asked && !free) raise(PyExc_RuntimeError, "current IOLoop already exists");
    const PyRef loop =
        given == Py_None ? py_check(PyObject_CallObject(event_loop_type(), nullptr)) : PyRef::borrow(given);
    if (kept_by(loop.get(), false)) {
      PyErr_Format(PyExc_RuntimeError, "%R has an IOLoop already", loop.get());
      throw PyError{};
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
     "instance()\n--\n\nIn a uWSGI worker the IOLoop that the worker runs, whoever asks: a module at its "
     "import, a request, a\n"
     "callback, a thread. Elsewhere current()."},
    {"current", as_method(current_function), kKeywords | METH_STATIC,
     "current(instance=True)\n--\n\nThe IOLoop of the asyncio loop that runs here, else of the thread's "
     "current one, which for requests\n"
     "is the worker's. Where there is none: one is made on the main thread, other threads get RuntimeError. "
     "With\n"
     "instance=False none is made, and None returned."},
    {"make_current", make_current, METH_NOARGS,
     "make_current($self, /)\n--\n\nMakes it current for this thread, for asyncio too "
     "(asyncio.set_event_loop())."},
    {"clear_current", clear_current, METH_NOARGS | METH_STATIC,
     "clear_current()\n--\n\nUndoes make_current() of the thread's current IOLoop."},
    {"install", make_current, METH_NOARGS, "install($self, /)\n--\n\nThe old name of make_current()."},
    {"clear_instance", clear_current, METH_NOARGS | METH_STATIC,
     "clear_instance()\n--\n\nThe old name of clear_current()."},
    {"add_handler", as_method(add_handler), kKeywords,
     "add_handler($self, fd, handler, events)\n--\n\nCalls handler(fd, events) whenever one of the events "
     "comes: READ, WRITE or both; errors come as\n"
     "either. `fd` is a descriptor or an object with fileno(), and the handler gets what was given. Both "
     "events at\n"
     "once are two calls. Raises ValueError when the descriptor has a handler already."},
    {"update_handler", as_method(update_handler), kKeywords,
     "update_handler($self, fd, events)\n--\n\nChanges the events waited for; NONE keeps the handler and "
     "waits for nothing. Raises KeyError for\n"
     "a descriptor without a handler."},
    {"remove_handler", remove_handler, METH_O,
     "remove_handler($self, fd, /)\n--\n\nTakes the handler away, before the descriptor is closed. Does "
     "nothing where there is none."},
    {"add_callback", as_method(add_callback), kKeywords,
     "add_callback($self, callback, /, *args, **kwargs)\n--\n\nCalls callback(*args, **kwargs) in the next "
     "turn of the loop, from any thread or request. An exception\n"
     "goes to the log; what can be awaited and is returned is awaited, its exception logged as well. Does "
     "nothing\n"
     "once the loop is closed."},
    {"add_callback_from_signal", as_method(add_callback_from_signal), kKeywords,
     "add_callback_from_signal($self, callback, /, *args, **kwargs)\n--\n\nadd_callback() for handlers of "
     "the signal module."},
    {"spawn_callback", as_method(add_callback), kKeywords,
     "spawn_callback($self, callback, /, *args, **kwargs)\n--\n\nadd_callback() under another name."},
    {"add_timeout", as_method(add_timeout), kKeywords,
     "add_timeout($self, deadline, callback, /, *args, **kwargs)\n--\n\nCalls callback(*args, **kwargs) at "
     "the deadline: a number as time.time() counts, or a\n"
     "datetime.timedelta from now. Returns what remove_timeout() takes. As add_callback() with results and "
     "exceptions;\n"
     "for the loop's thread and, in a worker, its requests."},
    {"call_later", as_method(call_later), kKeywords,
     "call_later($self, delay, callback, /, *args, **kwargs)\n--\n\nadd_timeout() in `delay` seconds."},
    {"call_at", as_method(call_at), kKeywords,
     "call_at($self, when, callback, /, *args, **kwargs)\n--\n\nadd_timeout() at the time `when` of time()."},
    {"remove_timeout", remove_timeout, METH_O,
     "remove_timeout($self, timeout, /)\n--\n\nCancels what add_timeout(), call_later() or call_at() "
     "returned; also after it was called."},
    {"add_future", as_method(add_future), kKeywords,
     "add_future($self, future, callback)\n--\n\nCalls callback(future) on the loop once the asyncio or "
     "concurrent.futures future is done. Raises\n"
     "TypeError for other awaitables."},
    {"run_in_executor", run_in_executor, METH_VARARGS,
     "run_in_executor($self, executor, func, /, *args)\n--\n\nRuns func(*args) in the concurrent.futures "
     "executor, or in the loop's own for None; returns a future\n"
     "to await."},
    {"set_default_executor", set_default_executor, METH_O,
     "set_default_executor($self, executor, /)\n--\n\nThe ThreadPoolExecutor that run_in_executor(None, ...) "
     "uses."},
    {"time", time, METH_NOARGS, "time($self, /)\n--\n\nThe clock of deadlines: time.time()."},
    {"start", start, METH_NOARGS,
     "start($self, /)\n--\n\nRuns the loop until stop(). Raises RuntimeError for a worker's, which uWSGI "
     "runs."},
    {"stop", stop, METH_NOARGS,
     "stop($self, /)\n--\n\nEnds start() after the present turn, or the next start() at once. Raises "
     "RuntimeError for a worker's."},
    {"run_sync", as_method(run_sync), kKeywords,
     "run_sync($self, func, timeout=None)\n--\n\nRuns the loop until what func() returned is done, an "
     "awaitable or None, and returns its result or raises its\n"
     "exception. After `timeout` seconds it is cancelled and TimeoutError raised. In a request, on the "
     "worker's loop:\n"
     "suspends the request until then. Raises RuntimeError on a loop that runs."},
    {"close", as_method(close), kKeywords,
     "close($self, all_fds=False)\n--\n\nCloses the asyncio loop too; with `all_fds` also the descriptors "
     "that have handlers. Raises RuntimeError\n"
     "while it runs, and for a worker's."},
    {"_run_callback", run_callback, METH_O, nullptr},
    {"_handle_events", handle_events, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"asyncio_loop", T_OBJECT, offsetof(TornadoIoLoop, asyncio_loop), READONLY,
     "The asyncio loop that this is the face of."},
    {nullptr, 0, 0, 0, nullptr},
};

constexpr char kDoc[] =
    "IOLoop(*, make_current=None, asyncio_loop=None)\n--\n\n"
    "An asyncio loop under the names of Tornado's IOLoop, without Tornado. In a uWSGI worker use\n"
    "IOLoop.instance(): the worker's own, known from the application's import on and run by uWSGI.\n"
    "Made by hand it brings a new EventLoop, or is the face of the loop given; it becomes the thread's\n"
    "current one if there is none, or if `make_current` says so.";

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
