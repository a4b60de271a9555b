#include <algorithm>
#include <ctime>

#include "plugin/tornado/call_arguments.h"
#include "plugin/tornado/io_loop_methods.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {
namespace {

double as_seconds(PyObject* number) {
  const double seconds = PyFloat_AsDouble(number);
  if (seconds == -1 && PyErr_Occurred()) throw PyError{};
  return seconds;
}

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

}  // namespace

PyObject* add_timeout(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("add_timeout", args, kwargs);
    const double when = moment_of(arguments.take("deadline").get());
    return face_of(self).call_at(when, arguments.bind_callback().get());
  });
}

PyObject* call_at(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("call_at", args, kwargs);
    const double when = as_seconds(arguments.take("when").get());
    return face_of(self).call_at(when, arguments.bind_callback().get());
  });
}

PyObject* call_later(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("call_later", args, kwargs);
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

}  // namespace python::io_loop

namespace python {

// On the asyncio loop's own clock: the two may drift.
PyRef TornadoIoLoop::call_at(double when, PyObject* callback) {
  const PyRef run = io_loop::run_callback_method(*this);
  return py_check(PyObject_CallMethod(asyncio_loop, "call_later", "dOO", std::max(0.0, when - wall_clock()),
                                      run.get(), callback));
}

double wall_clock() noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void cancel_timeout(PyObject* timeout) { py_check(PyObject_CallMethod(timeout, "cancel", nullptr)); }

}  // namespace python
