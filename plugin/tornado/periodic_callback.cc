#include "plugin/tornado/periodic_callback.h"

#include <structmember.h>

#include <cmath>

#include "plugin/loop/clock.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/static_type.h"
#include "plugin/tornado/call_arguments.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python {
namespace {

// The Python object. Raw pointers and not PyRefs: programs keep it to their end.
struct PeriodicCallback {
  PyObject_HEAD PyObject* callback;
  PyObject* io_loop;     // Of the last start().
  PyObject* timeout;     // Of the call to come.
  double callback_time;  // Milliseconds.
  double jitter;
  double next_timeout;
  char running;
  unsigned long run;  // Counts start() and stop(): a call awaited since before schedules no other.

  PyObject* object() noexcept { return reinterpret_cast<PyObject*>(this); }
};

PeriodicCallback& periodic_of(PyObject* self) noexcept { return *reinterpret_cast<PeriodicCallback*>(self); }

void put(PyObject*& place, PyObject* value) noexcept {
  const PyRef before = PyRef::steal(std::exchange(place, PyRef::borrow(value).release()));
}

double period_s(const PeriodicCallback& periodic) {
  const double seconds = periodic.callback_time / 1000;
  if (periodic.jitter == 0) return seconds;
  const PyRef random =
      py_check(PyObject_CallMethod(py_check(PyImport_ImportModule("random")).get(), "random", nullptr));
  return seconds * (1 + periodic.jitter * (PyFloat_AsDouble(random.get()) - 0.5));
}

// Tornado's rule. The period counts from the start of a call to the start of the next; the calls
// that one missed by running too long are left out, and the next is a multiple of the period away.
// Where the clock went back the next call still lies after the last.
void update_next(PeriodicCallback& periodic, double now) {
  const double period = period_s(periodic);
  const double late = now - periodic.next_timeout;
  periodic.next_timeout += late >= 0 ? (std::floor(late / period) + 1) * period : period;
}

void schedule_next(PeriodicCallback& periodic) {
  if (!periodic.running) return;
  update_next(periodic, loop::wall_clock_s());
  const PyRef run = py_check(PyObject_GetAttrString(periodic.object(), "_run"));
  const PyRef timeout =
      reinterpret_cast<TornadoIoLoop*>(periodic.io_loop)->call_at(periodic.next_timeout, run.get());
  put(periodic.timeout, timeout.get());
}

// --- One call ----------------------------------------------------------------------------------

// What the callback returned is done. `bound` is (PeriodicCallback, its run then).
PyObject* on_awaited(PyObject* bound, PyObject* future) noexcept {
  return py_boundary([=] {
    PeriodicCallback& periodic = periodic_of(PyTuple_GET_ITEM(bound, 0));
    const bool same_run = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(bound, 1)) == periodic.run;
    const PyRef result = PyRef::steal(PyObject_CallMethod(future, "result", nullptr));
    if (!result) log_exception_of(periodic.callback);
    if (same_run) schedule_next(periodic);
  });
}

PyMethodDef on_awaited_method = {"on_awaited", on_awaited, METH_O, nullptr};

// True when the next call has to wait for what this one returned.
bool await_result(PeriodicCallback& periodic, const PyRef& result) {
  if (result.get() == Py_None) return false;
  const PyRef future =
      as_future_of(reinterpret_cast<TornadoIoLoop*>(periodic.io_loop)->asyncio_loop, result.get());
  if (!future) return false;
  const PyRef bound = py_check(Py_BuildValue("(Ok)", periodic.object(), periodic.run));
  const PyRef callback = py_check(PyCFunction_New(&on_awaited_method, bound.get()));
  py_check(PyObject_CallMethod(future.get(), "add_done_callback", "O", callback.get()));
  return true;
}

// The timeout's callback. A callback may stop this, or start it anew.
PyObject* run(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    PeriodicCallback& periodic = periodic_of(self);
    if (!periodic.running) return none();
    put(periodic.timeout, nullptr);
    const unsigned long run_before = periodic.run;
    const PyRef callback = PyRef::borrow(periodic.callback);
    const PyRef result = PyRef::steal(PyObject_CallObject(callback.get(), nullptr));
    if (!result) log_exception_of(callback.get());
    if (result && await_result(periodic, result)) return none();
    if (run_before == periodic.run) schedule_next(periodic);
    return none();
  });
}

// --- Methods -----------------------------------------------------------------------------------

void end_run(PeriodicCallback& periodic) {
  periodic.running = false;
  ++periodic.run;
  const PyRef timeout = PyRef::steal(std::exchange(periodic.timeout, nullptr));
  if (timeout) cancel_timeout(timeout.get());
}

PyObject* start(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    PeriodicCallback& periodic = periodic_of(self);
    end_run(periodic);
    put(periodic.io_loop, current_io_loop().get());
    periodic.running = true;
    periodic.next_timeout = loop::wall_clock_s();
    schedule_next(periodic);
  });
}

PyObject* stop(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] { end_run(periodic_of(self)); });
}

PyObject* is_running(PyObject* self, PyObject*) noexcept {
  return PyBool_FromLong(periodic_of(self).running);
}

PyObject* update_next_method(PyObject* self, PyObject* now) noexcept {
  return py_boundary([=] {
    const double seconds = PyFloat_AsDouble(now);
    if (seconds == -1 && PyErr_Occurred()) throw PyError{};
    update_next(periodic_of(self), seconds);
  });
}

// --- The type ----------------------------------------------------------------------------------

// Milliseconds, of a number of them or a datetime.timedelta.
double milliseconds_of(PyObject* time) {
  const double number = is_timedelta(time) ? total_seconds(time) * 1000 : as_double(time);
  if (number > 0) return number;
  raise(PyExc_ValueError, "Periodic callback must have a positive callback_time");
}

int init(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  const PyRef done = PyRef::steal(py_boundary([=] {
    PyObject *callback, *time;
    double jitter = 0;
    parse_arguments(args, kwargs, "OO|d:PeriodicCallback", {"callback", "callback_time", "jitter"}, &callback,
                    &time, &jitter);
    PeriodicCallback& periodic = periodic_of(self);
    periodic.callback_time = milliseconds_of(time);
    periodic.jitter = jitter;
    put(periodic.callback, callback);
  }));
  return done ? 0 : -1;
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
  Py_VISIT(periodic_of(self).callback);
  Py_VISIT(periodic_of(self).io_loop);
  Py_VISIT(periodic_of(self).timeout);
  return 0;
}

int clear(PyObject* self) noexcept {
  Py_CLEAR(periodic_of(self).callback);
  Py_CLEAR(periodic_of(self).io_loop);
  Py_CLEAR(periodic_of(self).timeout);
  return 0;
}

void dealloc(PyObject* self) noexcept {
  PyObject_GC_UnTrack(self);
  clear(self);
  Py_TYPE(self)->tp_free(self);
}

PyMethodDef methods[] = {
    {"start", start, METH_NOARGS,
     "start($self, /)\n--\n\n"
     "Starts the calls on IOLoop.current(); the first one comes after one period. If they have already\n"
     "been started, this restarts them."},
    {"stop", stop, METH_NOARGS,
     "stop($self, /)\n--\n\n"
     "Stops the calls. A call that is being awaited runs to its end."},
    {"is_running", is_running, METH_NOARGS,
     "is_running($self, /)\n--\n\n"
     "Returns True between start() and stop()."},
    {"_run", run, METH_NOARGS, nullptr},
    {"_update_next", update_next_method, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"callback", T_OBJECT, offsetof(PeriodicCallback, callback), 0, "The function to call."},
    {"callback_time", T_DOUBLE, offsetof(PeriodicCallback, callback_time), 0, "The period in milliseconds."},
    {"jitter", T_DOUBLE, offsetof(PeriodicCallback, jitter), 0, "The part by which a period varies."},
    {"io_loop", T_OBJECT, offsetof(PeriodicCallback, io_loop), READONLY, "The IOLoop of the last start()."},
    {"_next_timeout", T_DOUBLE, offsetof(PeriodicCallback, next_timeout), 0, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

constexpr char kDoc[] =
    "PeriodicCallback(callback, callback_time, jitter=0)\n--\n\n"
    "Calls callback() every `callback_time` (milliseconds or a datetime.timedelta) from start() to\n"
    "stop(). If it returns an awaitable, that is awaited before the next call. If a call takes longer\n"
    "than the period, the calls it misses are skipped; the next one comes at a multiple of the period\n"
    "after the first. Exceptions are logged. With jitter 0.1 each period varies by a tenth, half of it\n"
    "up and half down. Raises ValueError if the time is not positive.";

}  // namespace

PyObject* periodic_callback_type() {
  return reinterpret_cast<PyObject*>(
      static_type<PeriodicCallback>("uwsgi_tornado.PeriodicCallback", [](PyTypeObject& t) {
        t.tp_flags |= Py_TPFLAGS_BASETYPE;
        t.tp_doc = kDoc;
        t.tp_methods = methods;
        t.tp_members = members;
        t.tp_new = PyType_GenericNew;
        t.tp_init = init;
        t.tp_traverse = traverse;
        t.tp_clear = clear;
        t.tp_dealloc = dealloc;
      }));
}

}  // namespace python
