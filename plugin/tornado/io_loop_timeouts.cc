#include <algorithm>

#include "plugin/loop/clock.h"
#include "plugin/tornado/call_arguments.h"
#include "plugin/tornado/io_loop_methods.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {
namespace {

bool is_real_number(PyObject* object) {
  if (PyFloat_Check(object) || PyLong_Check(object)) return true;
  return is_instance(object, imported("numbers", "Real").get());
}

double moment_of(PyObject* deadline) {
  if (is_real_number(deadline)) return as_double(deadline);
  if (is_timedelta(deadline)) return loop::wall_clock_s() + total_seconds(deadline);
  raise(PyExc_TypeError, "Unsupported deadline %R", deadline);
}

}  // namespace

PyObject* add_timeout(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("add_timeout", args, kwargs);
    const double when = moment_of(arguments.take("deadline").get());
    return tornado_loop_of(self).call_at(when, arguments.bind_callback().get());
  });
}

PyObject* call_at(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("call_at", args, kwargs);
    const double when = as_double(arguments.take("when").get());
    return tornado_loop_of(self).call_at(when, arguments.bind_callback().get());
  });
}

PyObject* call_later(PyObject* self, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    CallArguments arguments("call_later", args, kwargs);
    const double delay = as_double(arguments.take("delay").get());
    return tornado_loop_of(self).call_at(loop::wall_clock_s() + delay, arguments.bind_callback().get());
  });
}

PyObject* remove_timeout(PyObject*, PyObject* timeout) noexcept {
  return py_boundary([=] {
    cancel_timeout(timeout);
    return none();
  });
}

PyObject* time(PyObject*, PyObject*) noexcept { return PyFloat_FromDouble(loop::wall_clock_s()); }

}  // namespace python::io_loop

namespace python {

// On the asyncio loop's own clock: the two may drift.
PyRef TornadoIoLoop::call_at(double when, PyObject* callback) {
  const PyRef run = io_loop::run_callback_method(*this);
  return py_check(PyObject_CallMethod(asyncio_loop, "call_later", "dOO",
                                      std::max(0.0, when - loop::wall_clock_s()), run.get(), callback));
}

void cancel_timeout(PyObject* timeout) { py_check(PyObject_CallMethod(timeout, "cancel", nullptr)); }

}  // namespace python
