#include "plugin/asyncio/spawn.h"

#include <memory>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/blocking/gate.h"
#include "plugin/python/py_ref.h"

namespace python {
namespace {

Spawner* the_spawner = nullptr;

// What spawn() was asked to run, and where its outcome goes. Ends on its own virtual thread.
struct Spawned {
  PyRef function;
  PyRef args;
  PyRef kwargs;
  PyRef context;
  PyRef future;

  void run() {
    const PyRef go = py_check(PyObject_CallMethod(future.get(), "set_running_or_notify_cancel", nullptr));
    if (!is_true(go)) return;
    py_check_status(PyContext_Enter(context.get()));
    PyRef result = PyRef::steal(PyObject_Call(function.get(), args.get(), kwargs.get()));
    const PyRef exception = result ? PyRef() : take_exception();
    PyContext_Exit(context.get());
    if (result) py_check(PyObject_CallMethod(future.get(), "set_result", "(O)", result.get()));
    else py_check(PyObject_CallMethod(future.get(), "set_exception", "O", exception.get()));
  }
};

void run_spawned(void* argument) noexcept {
  const std::unique_ptr<Spawned> spawned(static_cast<Spawned*>(argument));
  try {
    spawned->run();
  } catch (const PyError&) {
    PyErr_WriteUnraisable(spawned->function.get());
  }
}

PyObject* spawn(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    if (PyTuple_GET_SIZE(args) < 1) raise(PyExc_TypeError, "spawn() needs a function to run");
    if (the_spawner == nullptr || !blocking::on_loop_thread()) {
      raise(PyExc_RuntimeError,
            "spawn() must be called on the thread of a uWSGI worker that runs with --tornado");
    }
    auto spawned = std::make_unique<Spawned>();
    spawned->function = PyRef::borrow(PyTuple_GET_ITEM(args, 0));
    spawned->args = py_check(PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args)));
    spawned->kwargs = PyRef::borrow(kwargs);
    spawned->context = py_check(PyContext_CopyCurrent());
    spawned->future = py_check(PyObject_CallObject(asyncio_names().concurrent_future, nullptr));
    PyRef future = spawned->future;
    the_spawner->spawn(run_spawned, spawned.get());
    static_cast<void>(spawned.release());
    return future;
  });
}

}  // namespace

void set_spawner(Spawner* given) noexcept { the_spawner = given; }

Spawner* spawner() noexcept { return the_spawner; }

PyMethodDef spawn_methods[] = {
    {"spawn", as_method(spawn), METH_VARARGS | METH_KEYWORDS,
     "spawn($module, function, /, *args, **kwargs)\n--\n\n"
     "Runs the function on a virtual thread of the worker, outside any request, with a copy of the\n"
     "caller's context. It may wait, as a request may. Returns a concurrent.futures.Future, which gets\n"
     "what the function returns or raises. A worker that ends waits for the function as for a request.\n\n"
     "Raises RuntimeError outside a worker and on any thread other than the worker's, and TypeError\n"
     "without a function."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace python
