#include "plugin/asyncio/event_loop_policy.h"

#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/policies.h"
#include "plugin/python/py_ref.h"

namespace python {
namespace {

constexpr char kPolicyDoc[] =
    "EventLoopPolicy()\n--\n\n"
    "asyncio's default policy, with EventLoop as its loops:\n"
    "asyncio.set_event_loop_policy(uwsgi_tornado.EventLoopPolicy())";

// Before asyncio.Runner: asyncio.run() with our policy for as long.
PyRef run_with_policy(const PyRef& asyncio, PyObject* main, PyObject* debug) {
  const PyRef before = py_check(PyObject_CallMethod(asyncio.get(), "get_event_loop_policy", nullptr));
  const PyRef policy = py_check(PyObject_CallObject(event_loop_policy_type(), nullptr));
  py_check(PyObject_CallMethod(asyncio.get(), "set_event_loop_policy", "O", policy.get()));
  const PyRef function = py_check(PyObject_GetAttrString(asyncio.get(), "run"));
  const PyRef options = py_check(Py_BuildValue("{s:O}", "debug", debug));
  const PyRef arguments = py_check(PyTuple_Pack(1, main));
  PyRef result = PyRef::steal(PyObject_Call(function.get(), arguments.get(), options.get()));
  ErrorState error;
  error.fetch();
  PyRef::steal(PyObject_CallMethod(asyncio.get(), "set_event_loop_policy", "O", before.get()));
  error.restore();
  if (PyErr_Occurred()) throw PyError{};
  return result;
}

// with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner: return runner.run(main)
PyRef run_with_runner(const PyRef& runner_type, PyObject* main, PyObject* debug) {
  const PyRef options =
      py_check(Py_BuildValue("{s:O,s:O}", "debug", debug, "loop_factory", event_loop_type()));
  const PyRef runner =
      py_check(PyObject_Call(runner_type.get(), py_check(PyTuple_New(0)).get(), options.get()));
  py_check(PyObject_CallMethod(runner.get(), "__enter__", nullptr));
  PyRef result = PyRef::steal(PyObject_CallMethod(runner.get(), "run", "O", main));
  ErrorState error;
  error.fetch();
  const PyRef closed = PyRef::steal(PyObject_CallMethod(runner.get(), "close", nullptr));
  error.restore();
  if (PyErr_Occurred()) throw PyError{};
  return result;
}

}  // namespace

PyObject* event_loop_policy_type() {
  static PyObject* type = nullptr;
  if (type != nullptr) return type;
  const PyRef base = default_event_loop_policy_type();
  const PyRef body = py_check(Py_BuildValue("{s:s,s:s,s:O}", "__module__", "uwsgi_tornado", "__doc__",
                                            kPolicyDoc, "_loop_factory", event_loop_type()));
  type = py_check(PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(O)O", "EventLoopPolicy",
                                        base.get(), body.get()))
             .release();
  return type;
}

PyObject* run(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *main, *debug = Py_None;
    parse_arguments(args, kwargs, "O|$O:run", {"main", "debug"}, &main, &debug);
    const PyRef asyncio = py_check(PyImport_ImportModule("asyncio"));
    const PyRef running = py_check(PyObject_CallMethod(asyncio.get(), "_get_running_loop", nullptr));
    if (running.get() != Py_None) {
      raise(PyExc_RuntimeError, "uwsgi_tornado.run() cannot be called from a running event loop");
    }
    const PyRef runner_type = PyRef::steal(PyObject_GetAttrString(asyncio.get(), "Runner"));
    if (runner_type) return run_with_runner(runner_type, main, debug);
    PyErr_Clear();
    return run_with_policy(asyncio, main, debug);
  });
}

const char kRunDoc[] =
    "run($module, main, /, *, debug=None)\n--\n\n"
    "asyncio.run() with an EventLoop: runs the coroutine `main` and returns its result. Raises\n"
    "RuntimeError if a loop runs already, and inside a request.";

}  // namespace python
