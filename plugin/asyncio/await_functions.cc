#include "plugin/asyncio/await_functions.h"

#include <utility>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/await.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/blocking/wait.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

// asyncio.gather(), called by the loop in its next turn. On the stack of a request it could be left in the
// middle, by a finaliser that waits or at the end of the quantum, and it never counts a future that is done
// before it returns.
class GatherOnLoop {
 public:
  // A list of futures of the worker's loop.
  GatherOnLoop(const PyRef& futures, PyObject* return_exceptions)
      : futures_(py_check(PyList_AsTuple(futures.get()))), return_exceptions_(return_exceptions) {}

  // The future of them all. Throws PyError.
  PyRef future(VirtualThread& thread) {
    suspend::Baton called(thread.fiber(), "future", blocking::Abort::kNever);
    called_ = &called;
    thread.loop().add_callback({[](void* self) noexcept { static_cast<GatherOnLoop*>(self)->call(); }, this});
    blocking::wait(called);
    if (!error_) return std::move(all_);
    error_.restore();
    throw PyError{};
  }

 private:
  void call() noexcept {
    try {
      all_ = call_with_option(asyncio_names().gather, futures_, "return_exceptions", return_exceptions_);
    } catch (const PyError&) {
      error_.fetch();
    }
    called_->post();
  }

  const PyRef futures_;
  PyObject* const return_exceptions_;
  suspend::Baton* called_ = nullptr;
  PyRef all_;
  ErrorState error_;
};

PyObject* await_function(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *awaitable, *timeout = Py_None;
    parse_arguments(args, kwargs, "O|O:await_", {"", "timeout"}, &awaitable, &timeout);
    return await_in_request(awaitable, timeout);
  });
}

PyObject* gather(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject *return_exceptions = Py_False, *timeout = Py_None;
    const PyRef nothing = py_check(PyTuple_New(0));
    parse_arguments(nothing.get(), kwargs, "|$OO:gather_", {"return_exceptions", "timeout"},
                    &return_exceptions, &timeout);
    VirtualThread& thread = waiting_thread("gather_");
    WorkerLoop& worker = running_worker_loop("gather_");
    const PyRef futures = py_check(PyList_New(0));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) {
      PyRef given = PyRef::borrow(PyTuple_GET_ITEM(args, i));
      if (is_concurrent_future(given.get())) {
        given = call_with_option(asyncio_names().wrap_future, py_check(PyTuple_Pack(1, given.get())), "loop",
                                 worker.event_loop());
      }
      py_check_status(PyList_Append(futures.get(), as_future(given.get(), worker.event_loop()).get()));
    }
    if (PyList_GET_SIZE(futures.get()) == 0) return PyRef(futures);
    const PyRef all = GatherOnLoop(futures, return_exceptions).future(thread);
    return await_future(thread, all.get(), seconds_of(timeout));
  });
}

PyObject* to_thread(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    if (PyTuple_GET_SIZE(args) < 1) raise(PyExc_TypeError, "to_thread() needs a function to run");
    VirtualThread& thread = waiting_thread("to_thread");
    WorkerLoop& worker = running_worker_loop("to_thread");
    // context.run(function, *args, **kwargs), in a pool of real threads.
    const PyRef context = py_check(PyContext_CopyCurrent());
    const PyRef run = py_check(PyObject_GetAttrString(context.get(), "run"));
    const PyRef first = py_check(PyTuple_Pack(1, run.get()));
    const PyRef all = py_check(PySequence_Concat(first.get(), args));
    const PyRef call = py_check(PyObject_Call(asyncio_names().partial, all.get(), kwargs));
    const PyRef future = py_check(
        PyObject_CallMethod(worker.event_loop(), "run_in_executor", "OO", worker.real_threads(), call.get()));
    return await_future(thread, future.get(), -1);
  });
}

PyObject* sleep(PyObject*, PyObject* seconds) noexcept {
  return py_boundary([=] {
    waiting_thread("sleep");
    const PyRef time = py_check(PyImport_ImportModule("time"));
    return py_check(PyObject_CallMethod(time.get(), "sleep", "(O)", seconds));
  });
}

}  // namespace

PyMethodDef await_methods[] = {
    {"await_", as_method(await_function), METH_VARARGS | METH_KEYWORDS,
     "await_($module, awaitable, /, timeout=None)\n--\n\n"
     "Waits, in plain code of a request, for an awaitable: a coroutine, a future or task of the worker's\n"
     "event loop, a Tornado future or a concurrent.futures one. Returns its result or raises its\n"
     "exception. Only this request is suspended. A coroutine runs as a task with a copy of the request's\n"
     "context variables. After `timeout` seconds the awaitable is cancelled, gets 5 seconds to clean up,\n"
     "and TimeoutError is raised.\n\n"
     "Raises RuntimeError while an event loop runs (use await there), outside a worker, and in a\n"
     "no_suspend() section."},
    {"gather_", as_method(gather), METH_VARARGS | METH_KEYWORDS,
     "gather_($module, /, *awaitables, return_exceptions=False, timeout=None)\n--\n\n"
     "Waits for several awaitables at once, as asyncio.gather() does, and returns their results as a\n"
     "list in the same order. The first exception is raised, and the others continue; with\n"
     "return_exceptions=True exceptions are returned as results. After `timeout` seconds all are\n"
     "cancelled, get 5 seconds to clean up, and TimeoutError is raised.\n\n"
     "Raises RuntimeError where await_() does."},
    {"to_thread", as_method(to_thread), METH_VARARGS | METH_KEYWORDS,
     "to_thread($module, function, /, *args, **kwargs)\n--\n\n"
     "Runs the function on a real thread of a pool while this request is suspended, and returns its\n"
     "result or raises its exception. Use it for C code that computes without the GIL. If the request is\n"
     "interrupted, the thread continues.\n\n"
     "Raises RuntimeError where await_() does, and TypeError without a function."},
    {"sleep", sleep, METH_O,
     "sleep($module, seconds, /)\n--\n\n"
     "Sleeps for `seconds`, as time.sleep() does, but raises an error where that would block the event\n"
     "loop or the worker.\n\n"
     "Raises RuntimeError while an event loop runs, outside a worker and in a no_suspend() section."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace python
