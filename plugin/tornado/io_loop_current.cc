#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/policies.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/tornado/io_loop_methods.h"
#include "plugin/tornado/tornado_io_loop.h"

namespace python::io_loop {
namespace {

bool policy_is_the_default() {
  const PyRef policy = event_loop_policy();
  return reinterpret_cast<PyObject*>(Py_TYPE(policy.get())) == default_event_loop_policy_type().get();
}

// Like asyncio.get_event_loop(), except that a loop made for a main thread without one is of our type, unless
// the program chose a policy. Returns nothing if there is none and none is to be made.
PyRef current_asyncio_loop(bool make) {
  PyRef running = get_running_loop();
  if (running.get() != Py_None) return running;
  const PyRef set = loop_set_here(event_loop_policy().get());
  const bool usable = set.get() != Py_None && !is_closed(set.get());
  if (WorkerLoop::instance() == nullptr && !usable) {
    if (!make) return {};
    if (policy_is_the_default() && on_main_thread()) {
      PyRef made = py_check(PyObject_CallObject(event_loop_type(), nullptr));
      set_event_loop(made.get());
      return made;
    }
  }
  const PyRef policy = event_loop_policy();
  PyRef loop = PyRef::steal(PyObject_CallMethod(policy.get(), "get_event_loop", nullptr));
  if (loop) return loop;
  if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) throw PyError{};
  ErrorState error;
  error.fetch();
  if (!make) return {};
  if (!on_main_thread()) {
    error.restore();
    throw PyError{};
  }
  // CPython 3.14's policies do not make a main thread's first loop any more.
  PyRef made = py_check(PyObject_CallMethod(policy.get(), "new_event_loop", nullptr));
  set_event_loop(made.get());
  return made;
}

}  // namespace

PyRef current(bool make) {
  const PyRef loop = current_asyncio_loop(make);
  if (!loop) return none();
  // The worker's is always there.
  const bool worker = WorkerLoop::instance() != nullptr && WorkerLoop::instance()->event_loop() == loop.get();
  PyRef kept = kept_by(loop.get(), make || worker);
  return kept ? kept : none();
}

void become_current(TornadoIoLoop& tornado_loop) {
  if (tornado_loop.loop_before == nullptr)
    tornado_loop.loop_before = loop_set_here(event_loop_policy().get()).release();
  set_event_loop(tornado_loop.asyncio_loop);
}

void cease_to_be_current(TornadoIoLoop& tornado_loop) {
  const PyRef before = PyRef::steal(std::exchange(tornado_loop.loop_before, nullptr));
  if (before) set_event_loop(before.get() == tornado_loop.asyncio_loop ? Py_None : before.get());
}

PyObject* current_function(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    int instance = 1;
    parse_arguments(args, kwargs, "|p:current", {"instance"}, &instance);
    return current(instance == 1);
  });
}

PyObject* instance(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    const WorkerLoop* const worker = WorkerLoop::instance();
    return worker != nullptr ? kept_by(worker->event_loop(), true) : current(true);
  });
}

PyObject* make_current(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    become_current(tornado_loop_of(self));
    return none();
  });
}

PyObject* clear_current(PyObject*, PyObject*) noexcept {
  return py_boundary([] {
    const PyRef tornado_loop = current(false);
    if (tornado_loop.get() != Py_None) cease_to_be_current(tornado_loop_of(tornado_loop.get()));
  });
}

}  // namespace python::io_loop

namespace python {

PyRef current_io_loop() { return io_loop::current(true); }

}  // namespace python
