#include "plugin/tornado/io_loop_face.h"

#include <structmember.h>

#include <algorithm>
#include <ctime>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/worker_loop.h"

namespace python {
namespace {

// Tornado's, once those of epoll.
constexpr long kNone = 0, kRead = 0x001, kWrite = 0x004, kError = 0x018;

// Where an asyncio loop keeps its IOLoop.
constexpr char kKeptAs[] = "_uwsgi_tornado_io_loop";

IoLoopFace& face_of(PyObject* self) noexcept { return *reinterpret_cast<IoLoopFace*>(self); }

PyRef none() noexcept { return PyRef::borrow(Py_None); }

PyRef imported(const char* module, const char* name) {
  return py_check(PyObject_GetAttrString(py_check(PyImport_ImportModule(module)).get(), name));
}

[[noreturn]] void raise(PyObject* type, const char* text) {
  PyErr_SetString(type, text);
  throw PyError{};
}

bool is_true(const PyRef& object) {
  const int truth = PyObject_IsTrue(object.get());
  py_check_status(truth);
  return truth == 1;
}

bool is_worker_loop(const IoLoopFace& face) noexcept {
  const WorkerLoop* const worker = WorkerLoop::instance();
  return worker != nullptr && worker->event_loop() == face.asyncio_loop;
}

double as_seconds(PyObject* number) {
  const double seconds = PyFloat_AsDouble(number);
  if (seconds == -1 && PyErr_Occurred()) throw PyError{};
  return seconds;
}

// --- Arguments: (first, ..., *args, **kwargs), the first ones also by name ---------------------

class Arguments {
 public:
  Arguments(const char* method, PyObject* args, PyObject* kwargs)
      : method_(method), args_(args), kwargs_(kwargs == nullptr ? PyRef() : py_check(PyDict_Copy(kwargs))) {}

  PyRef take(const char* name) {
    if (next_ < PyTuple_GET_SIZE(args_)) return PyRef::borrow(PyTuple_GET_ITEM(args_, next_++));
    PyRef value = PyRef::borrow(kwargs_ ? PyDict_GetItemString(kwargs_.get(), name) : nullptr);
    if (!value) {
      PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", method_, name);
      throw PyError{};
    }
    py_check_status(PyDict_DelItemString(kwargs_.get(), name));
    return value;
  }

  // functools.partial(callback, *args, **kwargs) of what is left.
  PyRef bind(const PyRef& callback) const {
    const PyRef first = py_check(PyTuple_Pack(1, callback.get()));
    const PyRef rest = py_check(PyTuple_GetSlice(args_, next_, PyTuple_GET_SIZE(args_)));
    const PyRef all = py_check(PySequence_Concat(first.get(), rest.get()));
    return py_check(PyObject_Call(asyncio_names().partial, all.get(), kwargs_.get()));
  }
  PyRef bind_callback() { return bind(take("callback")); }

 private:
  const char* const method_;
  PyObject* const args_;
  const PyRef kwargs_;
  Py_ssize_t next_ = 0;
};

// --- Callbacks ---------------------------------------------------------------------------------

PyRef run_callback_method(IoLoopFace& face) {
  return py_check(PyObject_GetAttrString(face.object(), "_run_callback"));
}

// A function called with one argument that finds `bound` as its self.
PyRef bind_to(PyMethodDef& method, const PyRef& bound) {
  return py_check(PyCFunction_New(&method, bound.get()));
}

// The future of a callback's result is done: an exception would be seen by nobody else.
PyObject* on_result(PyObject* callback, PyObject* future) noexcept {
  return py_boundary([=] {
    if (!PyRef::steal(PyObject_CallMethod(future, "result", nullptr))) log_exception_of(callback);
    return none();
  });
}

PyMethodDef on_result_method = {"on_result", on_result, METH_O, nullptr};

void watch_result(const IoLoopFace& face, PyObject* callback, PyObject* result) {
  const PyRef future = as_future_of(face.asyncio_loop, result);
  if (!future) return;  // Methods that return this or that are used as callbacks too.
  const PyRef watcher = bind_to(on_result_method, PyRef::borrow(callback));
  py_check(PyObject_CallMethod(future.get(), "add_done_callback", "O", watcher.get()));
}

PyObject* run_callback(PyObject* self, PyObject* callback) noexcept {
  return py_boundary([=] {
    const PyRef result = PyRef::steal(PyObject_CallObject(callback, nullptr));
    if (!result) log_exception_of(callback);
    else if (result.get() != Py_None) watch_result(face_of(self), callback, result.get());
    return none();
  });
}

// What is added to a closed loop is dropped: a thread cannot know.
void call_soon(IoLoopFace& face, const char* method, const PyRef& callback) {
  const PyRef run = run_callback_method(face);
  if (PyRef::steal(PyObject_CallMethod(face.asyncio_loop, method, "OO", run.get(), callback.get()))) return;
  if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) throw PyError{};
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  const PyRef error[] = {PyRef::steal(type), PyRef::steal(value), PyRef::steal(traceback)};
  if (is_true(py_check(PyObject_CallMethod(face.asyncio_loop, "is_closed", nullptr)))) return;
  PyErr_Restore(PyRef(error[0]).release(), PyRef(error[1]).release(), PyRef(error[2]).release());
  throw PyError{};
}

// Only on the loop itself need it not be woken. A request has no running loop.
const char* call_soon_method(const IoLoopFace& face) {
  return get_running_loop().get() == face.asyncio_loop ? "call_soon" : "call_soon_threadsafe";
}

PyObject* add_callback(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    const PyRef callback = Arguments("add_callback", args, kwargs).bind_callback();
    call_soon(face_of(self), call_soon_method(face_of(self)), callback);
    return none();
  });
}

PyObject* add_callback_from_signal(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    const PyRef callback = Arguments("add_callback_from_signal", args, kwargs).bind_callback();
    call_soon(face_of(self), "call_soon_threadsafe", callback);
    return none();
  });
}

// --- Futures and executors ---------------------------------------------------------------------

// Both have (IOLoop, callback) as their self.
PyObject* on_future(PyObject* bound, PyObject* future) noexcept {
  return py_boundary([=] {
    PyObject* const self = PyTuple_GET_ITEM(bound, 0);
    const PyRef call = py_check(
        PyObject_CallFunctionObjArgs(asyncio_names().partial, PyTuple_GET_ITEM(bound, 1), future, nullptr));
    return py_check(PyObject_CallMethod(self, "_run_callback", "O", call.get()));
  });
}
PyObject* on_concurrent_future(PyObject* bound, PyObject* future) noexcept {
  return PyObject_CallMethod(PyTuple_GET_ITEM(bound, 0), "add_callback", "OO", PyTuple_GET_ITEM(bound, 1),
                             future);
}

PyMethodDef on_future_method = {"on_future", on_future, METH_O, nullptr};
PyMethodDef on_concurrent_future_method = {"on_concurrent_future", on_concurrent_future, METH_O, nullptr};

bool is_concurrent_future(PyObject* object) {
  const int is = PyObject_IsInstance(object, asyncio_names().concurrent_future);
  py_check_status(is);
  return is == 1;
}

bool is_asyncio_future(PyObject* object) {
  return is_true(
      py_check(PyObject_CallFunctionObjArgs(imported("asyncio", "isfuture").get(), object, nullptr)));
}

PyObject* add_future(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    Arguments arguments("add_future", args, kwargs);
    const PyRef future = arguments.take("future");
    const PyRef bound = py_check(PyTuple_Pack(2, self, arguments.take("callback").get()));
    const bool concurrent = is_concurrent_future(future.get());
    if (!concurrent && !is_asyncio_future(future.get())) {
      PyErr_Format(PyExc_TypeError, "add_future() takes a Future, not %R", future.get());
      throw PyError{};
    }
    const PyRef callback = bind_to(concurrent ? on_concurrent_future_method : on_future_method, bound);
    py_check(PyObject_CallMethod(future.get(), "add_done_callback", "O", callback.get()));
    return none();
  });
}

PyObject* run_in_executor(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    const PyRef method = py_check(PyObject_GetAttrString(face_of(self).asyncio_loop, "run_in_executor"));
    return py_check(PyObject_CallObject(method.get(), args));
  });
}

PyObject* set_default_executor(PyObject* self, PyObject* executor) noexcept {
  return PyObject_CallMethod(face_of(self).asyncio_loop, "set_default_executor", "O", executor);
}

// --- Timers ------------------------------------------------------------------------------------

bool is_real_number(PyObject* object) {
  if (PyFloat_Check(object) || PyLong_Check(object)) return true;
  const int is = PyObject_IsInstance(object, imported("numbers", "Real").get());
  py_check_status(is);
  return is == 1;
}

// In seconds, where `deadline` is a datetime.timedelta.
bool is_timedelta(PyObject* deadline) {
  const int is = PyObject_IsInstance(deadline, imported("datetime", "timedelta").get());
  py_check_status(is);
  return is == 1;
}

double moment_of(PyObject* deadline) {
  if (is_real_number(deadline)) return as_seconds(deadline);
  if (is_timedelta(deadline)) {
    return wall_clock() + as_seconds(py_check(PyObject_CallMethod(deadline, "total_seconds", nullptr)).get());
  }
  PyErr_Format(PyExc_TypeError, "Unsupported deadline %R", deadline);
  throw PyError{};
}

PyObject* add_timeout(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    Arguments arguments("add_timeout", args, kwargs);
    const double when = moment_of(arguments.take("deadline").get());
    return face_of(self).call_at(when, arguments.bind_callback().get());
  });
}

PyObject* call_at(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    Arguments arguments("call_at", args, kwargs);
    const double when = as_seconds(arguments.take("when").get());
    return face_of(self).call_at(when, arguments.bind_callback().get());
  });
}

PyObject* call_later(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    Arguments arguments("call_later", args, kwargs);
    const double delay = as_seconds(arguments.take("delay").get());
    return face_of(self).call_at(wall_clock() + delay, arguments.bind_callback().get());
  });
}

PyObject* remove_timeout(PyObject*, PyObject* timeout) noexcept {
  return py_boundary([=] {
    cancel_timeout(timeout);
    return none();
  });
}

PyObject* time(PyObject*, PyObject*) noexcept { return PyFloat_FromDouble(wall_clock()); }

// --- Handlers of descriptors -------------------------------------------------------------------

PyRef descriptor_named_by(PyObject* file) {
  if (PyLong_Check(file)) return PyRef::borrow(file);
  return py_check(PyObject_CallMethod(file, "fileno", nullptr));
}

// (file, handler, events), or nothing.
PyRef entry_of(const IoLoopFace& face, PyObject* fd) {
  PyRef entry = PyRef::borrow(PyDict_GetItemWithError(face.handlers, fd));
  if (!entry && PyErr_Occurred()) throw PyError{};
  return entry;
}

void watch(IoLoopFace& face, PyObject* fd, long event, bool on) {
  const bool reads = event == kRead;
  if (!on) {
    py_check(PyObject_CallMethod(face.asyncio_loop, reads ? "remove_reader" : "remove_writer", "O", fd));
    return;
  }
  const PyRef handle_events = py_check(PyObject_GetAttrString(face.object(), "_handle_events"));
  py_check(PyObject_CallMethod(face.asyncio_loop, reads ? "add_reader" : "add_writer", "OOOl", fd,
                               handle_events.get(), fd, event));
}

void change(IoLoopFace& face, PyObject* fd, long before, long after) {
  for (const long event : {kRead, kWrite}) {
    if ((before & event) != (after & event)) watch(face, fd, event, (after & event) != 0);
  }
}

void keep(IoLoopFace& face, PyObject* fd, PyObject* file, PyObject* handler, long events) {
  const PyRef entry = py_check(Py_BuildValue("(OOl)", file, handler, events));
  py_check_status(PyDict_SetItem(face.handlers, fd, entry.get()));
}

long events_of(const PyRef& entry) noexcept { return PyLong_AsLong(PyTuple_GET_ITEM(entry.get(), 2)); }

void forget(IoLoopFace& face, PyObject* fd) {
  const PyRef entry = entry_of(face, fd);
  if (!entry) return;
  py_check_status(PyDict_DelItem(face.handlers, fd));
  change(face, fd, events_of(entry), kNone);
}

// A descriptor that cannot be watched is not left with half of its handlers.
void add(IoLoopFace& face, PyObject* fd, PyObject* file, PyObject* handler, long events) {
  keep(face, fd, file, handler, events);
  try {
    change(face, fd, kNone, events);
  } catch (const PyError&) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    try {
      forget(face, fd);
    } catch (const PyError&) {
      PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
    throw;
  }
}

PyObject* add_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"fd", "handler", "events", nullptr};
    PyObject *file, *handler;
    long events;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOl:add_handler", const_cast<char**>(names), &file,
                                     &handler, &events))
      throw PyError{};
    const PyRef fd = descriptor_named_by(file);
    if (entry_of(face_of(self), fd.get())) {
      PyErr_Format(PyExc_ValueError, "fd %S added twice", fd.get());
      throw PyError{};
    }
    add(face_of(self), fd.get(), file, handler, events);
    return none();
  });
}

PyObject* update_handler(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"fd", "events", nullptr};
    PyObject* file;
    long events;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Ol:update_handler", const_cast<char**>(names), &file,
                                     &events))
      throw PyError{};
    const PyRef fd = descriptor_named_by(file);
    const PyRef entry = entry_of(face_of(self), fd.get());
    if (!entry) {
      PyErr_SetObject(PyExc_KeyError, fd.get());
      throw PyError{};
    }
    change(face_of(self), fd.get(), events_of(entry), events);
    keep(face_of(self), fd.get(), PyTuple_GET_ITEM(entry.get(), 0), PyTuple_GET_ITEM(entry.get(), 1), events);
    return none();
  });
}

PyObject* remove_handler(PyObject* self, PyObject* file) noexcept {
  return py_boundary([=] {
    forget(face_of(self), descriptor_named_by(file).get());
    return none();
  });
}

PyObject* handle_events(PyObject* self, PyObject* args) noexcept {
  return py_boundary([=] {
    PyObject *fd, *events;
    if (!PyArg_ParseTuple(args, "OO", &fd, &events)) throw PyError{};
    const PyRef entry = entry_of(face_of(self), fd);
    if (!entry) return none();
    return py_check(PyObject_CallFunctionObjArgs(PyTuple_GET_ITEM(entry.get(), 1),
                                                 PyTuple_GET_ITEM(entry.get(), 0), events, nullptr));
  });
}

// --- Running -----------------------------------------------------------------------------------

void refuse_for_worker(const IoLoopFace& face, const char* text) {
  if (is_worker_loop(face)) raise(PyExc_RuntimeError, text);
}

void set_event_loop(PyObject* loop) {
  py_check(PyObject_CallFunctionObjArgs(imported("asyncio", "set_event_loop").get(), loop, nullptr));
}

// The loop that this thread was given, or None. Nothing is made for the question.
PyRef loop_set_here() {
  const PyRef policy =
      py_check(PyObject_CallObject(imported("asyncio", "get_event_loop_policy").get(), nullptr));
  const PyRef local = PyRef::steal(PyObject_GetAttrString(policy.get(), "_local"));
  PyRef loop = local ? PyRef::steal(PyObject_GetAttrString(local.get(), "_loop")) : PyRef();
  if (loop) return loop;
  PyErr_Clear();  // A policy of another kind.
  return none();
}

PyObject* start(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    IoLoopFace& face = face_of(self);
    refuse_for_worker(face, "uWSGI runs this IOLoop as soon as the worker is set up: do not start it");
    const PyRef before = loop_set_here();
    set_event_loop(face.asyncio_loop);
    const PyRef ran = PyRef::steal(PyObject_CallMethod(face.asyncio_loop, "run_forever", nullptr));
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    const PyRef restored = PyRef::steal(
        PyObject_CallFunctionObjArgs(imported("asyncio", "set_event_loop").get(), before.get(), nullptr));
    if (type != nullptr) PyErr_Restore(type, value, traceback);
    if (PyErr_Occurred()) throw PyError{};
    return none();
  });
}

PyObject* stop(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    refuse_for_worker(
        face_of(self),
        "uWSGI runs this IOLoop until the worker ends (uwsgi.stop(), uwsgi.reload()): it cannot be stopped");
    return py_check(PyObject_CallMethod(face_of(self).asyncio_loop, "stop", nullptr));
  });
}

// Only the waiting is Python's: a coroutine cannot be written in C++.
constexpr char kRunSync[] = R"(
import asyncio

async def call(func, as_future):
    result = func()
    if result is None:
        return None
    future = as_future(result)
    if future is None:
        raise TypeError('run_sync() takes a function that returns an awaitable or None, not %r' % (result,))
    return await future

async def run_sync(func, timeout, as_future):
    task = asyncio.ensure_future(call(func, as_future))
    await asyncio.wait([task], timeout=timeout)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        raise asyncio.TimeoutError('Operation timed out after %s seconds' % timeout)
    return task.result()
)";

PyObject* run_sync_function() {
  static PyObject* function = nullptr;
  if (function != nullptr) return function;
  const PyRef names = py_check(PyDict_New());
  py_check_status(PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()));
  const PyRef code = py_check(Py_CompileString(kRunSync, "uwsgi_tornado.IOLoop.run_sync", Py_file_input));
  py_check(PyEval_EvalCode(code.get(), names.get(), names.get()));
  function = PyRef::borrow(PyDict_GetItemString(names.get(), "run_sync")).release();
  return function;
}

PyObject* as_future_or_none(PyObject* asyncio_loop, PyObject* result) noexcept {
  return py_boundary([=] {
    PyRef future = as_future_of(asyncio_loop, result);
    return future ? future : none();
  });
}

PyMethodDef as_future_method = {"as_future", as_future_or_none, METH_O, nullptr};

PyObject* run_sync(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"func", "timeout", nullptr};
    PyObject *func, *timeout = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:run_sync", const_cast<char**>(names), &func,
                                     &timeout))
      throw PyError{};
    PyObject* const loop = face_of(self).asyncio_loop;
    const PyRef as_future = bind_to(as_future_method, PyRef::borrow(loop));
    const PyRef coroutine =
        py_check(PyObject_CallFunctionObjArgs(run_sync_function(), func, timeout, as_future.get(), nullptr));
    PyRef result = PyRef::steal(PyObject_CallMethod(loop, "run_until_complete", "O", coroutine.get()));
    if (result) return result;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    // A loop that runs already has not taken it, and would have Python complain of that.
    if (!PyRef::steal(PyObject_CallMethod(coroutine.get(), "close", nullptr))) PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    throw PyError{};
  });
}

// --- Current -----------------------------------------------------------------------------------

// `asyncio_loop`'s own. Where there is none: made, or nothing.
PyRef kept_by(PyObject* asyncio_loop, bool make);

bool is_closed(PyObject* asyncio_loop) {
  return is_true(py_check(PyObject_CallMethod(asyncio_loop, "is_closed", nullptr)));
}

bool on_main_thread() {
  const PyRef main = py_check(PyObject_CallObject(asyncio_names().main_thread, nullptr));
  return py_check(PyObject_CallObject(imported("threading", "current_thread").get(), nullptr)).get() ==
         main.get();
}

bool policy_is_the_default() {
  const PyRef policy =
      py_check(PyObject_CallObject(imported("asyncio", "get_event_loop_policy").get(), nullptr));
  return reinterpret_cast<PyObject*>(Py_TYPE(policy.get())) ==
         imported("asyncio", "DefaultEventLoopPolicy").get();
}

// As asyncio.get_event_loop(), but that the loop made for a main thread without one is of our type,
// unless the program chose a policy. Nothing where there is none and none is to be made.
PyRef current_asyncio_loop(bool make) {
  PyRef running = get_running_loop();
  if (running.get() != Py_None) return running;
  const PyRef set = loop_set_here();
  const bool usable = set.get() != Py_None && !is_closed(set.get());
  if (WorkerLoop::instance() == nullptr && !usable) {
    if (!make) return {};
    if (policy_is_the_default() && on_main_thread()) {
      PyRef made = py_check(PyObject_CallObject(event_loop_type(), nullptr));
      set_event_loop(made.get());
      return made;
    }
  }
  const PyRef policy =
      py_check(PyObject_CallObject(imported("asyncio", "get_event_loop_policy").get(), nullptr));
  PyRef loop = PyRef::steal(PyObject_CallMethod(policy.get(), "get_event_loop", nullptr));
  if (loop) return loop;
  if (make || !PyErr_ExceptionMatches(PyExc_RuntimeError)) throw PyError{};
  PyErr_Clear();
  return {};
}

PyRef current(bool make) {
  const PyRef loop = current_asyncio_loop(make);
  if (!loop) return none();
  // The worker's is always there.
  const bool worker = WorkerLoop::instance() != nullptr && WorkerLoop::instance()->event_loop() == loop.get();
  PyRef kept = kept_by(loop.get(), make || worker);
  return kept ? kept : none();
}

PyObject* current_function(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"instance", nullptr};
    int instance = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:current", const_cast<char**>(names), &instance))
      throw PyError{};
    return current(instance == 1);
  });
}

PyObject* instance(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    const WorkerLoop* const worker = WorkerLoop::instance();
    return worker != nullptr ? kept_by(worker->event_loop(), true) : current(true);
  });
}

void become_current(IoLoopFace& face) {
  if (face.loop_before == nullptr) face.loop_before = loop_set_here().release();
  set_event_loop(face.asyncio_loop);
}

void cease_to_be_current(IoLoopFace& face) {
  const PyRef before = PyRef::steal(std::exchange(face.loop_before, nullptr));
  if (before) set_event_loop(before.get() == face.asyncio_loop ? Py_None : before.get());
}

PyObject* make_current(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    become_current(face_of(self));
    return none();
  });
}

PyObject* clear_current(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    const PyRef face = current(false);
    if (face.get() != Py_None) cease_to_be_current(face_of(face.get()));
    return none();
  });
}

void close_descriptor(PyObject* file) {
  const PyRef closed =
      PyLong_Check(file)
          ? PyRef::steal(PyObject_CallFunctionObjArgs(imported("os", "close").get(), file, nullptr))
          : PyRef::steal(PyObject_CallMethod(file, "close", nullptr));
  if (closed) return;
  if (!PyErr_ExceptionMatches(PyExc_OSError)) throw PyError{};
  PyErr_Clear();
}

PyObject* close(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"all_fds", nullptr};
    int all_fds = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:close", const_cast<char**>(names), &all_fds))
      throw PyError{};
    IoLoopFace& face = face_of(self);
    refuse_for_worker(face, "uWSGI closes this IOLoop as the worker ends");
    if (is_true(py_check(PyObject_CallMethod(face.asyncio_loop, "is_running", nullptr)))) {
      raise(PyExc_RuntimeError, "Cannot close a running event loop");
    }
    const PyRef entries = py_check(PyDict_Copy(face.handlers));
    PyObject *fd, *entry;
    for (Py_ssize_t place = 0; PyDict_Next(entries.get(), &place, &fd, &entry);) {
      forget(face, fd);
      if (all_fds) close_descriptor(PyTuple_GET_ITEM(entry, 0));
    }
    cease_to_be_current(face);
    return py_check(PyObject_CallMethod(face.asyncio_loop, "close", nullptr));
  });
}

// --- The type ----------------------------------------------------------------------------------

PyTypeObject* type_object();

// Until it is given its asyncio loop nobody sees it.
PyRef allocate(PyTypeObject* type, PyObject* asyncio_loop) {
  PyRef self = py_check(type->tp_alloc(type, 0));
  IoLoopFace& face = face_of(self.get());
  face.handlers = py_check(PyDict_New()).release();
  face.asyncio_loop = PyRef::borrow(asyncio_loop).release();
  py_check_status(PyObject_SetAttrString(asyncio_loop, kKeptAs, self.get()));
  return self;
}

PyRef kept_by(PyObject* asyncio_loop, bool make) {
  PyRef kept = PyRef::steal(PyObject_GetAttrString(asyncio_loop, kKeptAs));
  if (kept) return kept;
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw PyError{};
  PyErr_Clear();
  return make ? allocate(type_object(), asyncio_loop) : PyRef();
}

PyObject* new_face(PyTypeObject* type, PyObject* args, PyObject* kwargs) noexcept {
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
    if (free) become_current(face_of(self.get()));
    return self;
  });
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(face_of(self).asyncio_loop);
  Py_VISIT(face_of(self).handlers);
  Py_VISIT(face_of(self).loop_before);
  return 0;
}

int clear(PyObject* self) noexcept {
  Py_CLEAR(face_of(self).asyncio_loop);
  Py_CLEAR(face_of(self).handlers);
  Py_CLEAR(face_of(self).loop_before);
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  if (face_of(self).weak_references != nullptr) PyObject_ClearWeakRefs(self);
  clear(self);
  Py_TYPE(self)->tp_free(self);
}

PyObject* repr(PyObject* self) noexcept {
  return PyUnicode_FromFormat("<%s of %R>", Py_TYPE(self)->tp_name, face_of(self).asyncio_loop);
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
    {"asyncio_loop", T_OBJECT, offsetof(IoLoopFace, asyncio_loop), READONLY,
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
  static PyTypeObject type = [] {
    PyTypeObject t = {PyVarObject_HEAD_INIT(nullptr, 0)};
    t.tp_name = "uwsgi_tornado.IOLoop";
    t.tp_basicsize = sizeof(IoLoopFace);
    t.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;
    t.tp_doc = kDoc;
    t.tp_methods = methods;
    t.tp_members = members;
    t.tp_weaklistoffset = offsetof(IoLoopFace, weak_references);
    t.tp_new = new_face;
    t.tp_repr = repr;
    t.tp_traverse = traverse;
    t.tp_clear = clear;
    t.tp_dealloc = dealloc;
    return t;
  }();
  if (type.tp_dict == nullptr) {
    py_check_status(PyType_Ready(&type));
    add_events(type);
  }
  return &type;
}

}  // namespace

// On the asyncio loop's own clock: the two may drift.
PyRef IoLoopFace::call_at(double when, PyObject* callback) {
  const PyRef run = run_callback_method(*this);
  return py_check(PyObject_CallMethod(asyncio_loop, "call_later", "dOO", std::max(0.0, when - wall_clock()),
                                      run.get(), callback));
}

PyObject* io_loop_type() { return reinterpret_cast<PyObject*>(type_object()); }

PyRef current_io_loop() { return current(true); }

double wall_clock() noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void cancel_timeout(PyObject* timeout) { py_check(PyObject_CallMethod(timeout, "cancel", nullptr)); }

void log_exception_of(PyObject* callback) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  const PyRef error[] = {PyRef::steal(type), PyRef::steal(value), PyRef::steal(traceback)};
  if (PyErr_GivenExceptionMatches(type, imported("asyncio", "CancelledError").get())) return;
  if (!PyErr_GivenExceptionMatches(type, PyExc_Exception)) {
    PyErr_SetObject(type, value);
    throw PyError{};
  }
  const PyRef logger =
      py_check(PyObject_CallFunction(imported("logging", "getLogger").get(), "s", "tornado.application"));
  const PyRef method = py_check(PyObject_GetAttrString(logger.get(), "error"));
  const PyRef args = py_check(Py_BuildValue("(sO)", "Exception in callback %r", callback));
  const PyRef options = py_check(Py_BuildValue("{s:O}", "exc_info", value));
  py_check(PyObject_Call(method.get(), args.get(), options.get()));
}

PyRef as_future_of(PyObject* asyncio_loop, PyObject* result) {
  if (is_asyncio_future(result)) return PyRef::borrow(result);
  const AsyncioNames& names = asyncio_names();
  const bool concurrent = is_concurrent_future(result);
  if (!concurrent && !is_true(py_check(PyObject_CallFunctionObjArgs(imported("inspect", "isawaitable").get(),
                                                                    result, nullptr))))
    return {};
  const PyRef args = py_check(PyTuple_Pack(1, result));
  const PyRef options = py_check(Py_BuildValue("{s:O}", "loop", asyncio_loop));
  return py_check(
      PyObject_Call(concurrent ? names.wrap_future : names.ensure_future, args.get(), options.get()));
}

}  // namespace python
