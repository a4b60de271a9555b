#include "plugin/asyncio/await.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/blocking/wait.h"
#include "plugin/python/interruption.h"
#include "plugin/python/virtual_thread.h"

namespace python {

// --- Where one may wait ----------------------------------------------------------------------

VirtualThread& waiting_thread(const char* function) {
  VirtualThread* const thread = VirtualThread::current();
  if (get_running_loop().get() != Py_None) {
    PyErr_Format(PyExc_RuntimeError, "%s() would stop the event loop that runs here: in async code use await",
                 function);
    throw PyError{};
  }
  if (thread == nullptr) {
    PyErr_Format(PyExc_RuntimeError,
                 "%s() waits for the event loop of a uWSGI worker: call it in a request or in spawn()",
                 function);
    throw PyError{};
  }
  if (!thread->may_suspend()) {
    PyErr_Format(PyExc_RuntimeError,
                 "%s() in a no_suspend() section would wait for ever: the event loop cannot run meanwhile",
                 function);
    throw PyError{};
  }
  return *thread;
}

WorkerLoop& running_worker_loop(const char* function) {
  WorkerLoop* const worker = WorkerLoop::instance();
  if (worker != nullptr && worker->running()) return *worker;
  PyErr_Format(PyExc_RuntimeError, "%s() needs a uWSGI worker that runs with --tornado", function);
  throw PyError{};
}

double seconds_of(PyObject* timeout) {
  if (timeout == nullptr || timeout == Py_None) return -1;
  return std::max(as_double(timeout), 0.0);
}

namespace {

// How long a task that a timeout has cancelled may take to clean up.
constexpr double kCleanUpS = 5;

// function(*args, name=value)
PyRef call_with_option(PyObject* function, const PyRef& args, const char* name, PyObject* value) {
  const PyRef option = py_check(Py_BuildValue("{s:O}", name, value));
  return py_check(PyObject_Call(function, args.get(), option.get()));
}

bool is_done(PyObject* future) { return is_true(py_check(PyObject_CallMethod(future, "done", nullptr))); }

// --- Waiting for a future ----------------------------------------------------------------------

// What the future's callback knows; it may be called when nobody waits any more.
struct WaiterHandle {
  suspend::Baton* baton;
};

constexpr char kWaiterHandleName[] = "uwsgi_tornado.WaiterHandle";

// The callback of the future: callback(future), with the handle in a capsule.
PyObject* future_is_done(PyObject* capsule, PyObject*) noexcept {
  auto* const handle = static_cast<WaiterHandle*>(PyCapsule_GetPointer(capsule, kWaiterHandleName));
  // In a turn of its own: this is called in the middle of a callback of asyncio's.
  if (handle->baton != nullptr) handle->baton->post_next_turn();
  return PyRef::borrow(Py_None).release();
}

PyMethodDef future_is_done_method = {"uwsgi_tornado_resume", future_is_done, METH_O, nullptr};

PyRef capsule_of(suspend::Baton& baton) {
  auto handle = std::make_unique<WaiterHandle>(WaiterHandle{&baton});
  PyRef capsule = py_check(PyCapsule_New(handle.get(), kWaiterHandleName, [](PyObject* dying) noexcept {
    delete static_cast<WaiterHandle*>(PyCapsule_GetPointer(dying, kWaiterHandleName));
  }));
  static_cast<void>(handle.release());
  return capsule;
}

// True when `future` was done in time.
bool wait_until_done(VirtualThread& thread, PyObject* future, double seconds) {
  if (is_done(future)) return true;
  suspend::Baton baton(thread.fiber(), "future", blocking::Abort::kAllowed);
  const PyRef capsule = capsule_of(baton);
  const PyRef callback = py_check(PyCFunction_New(&future_is_done_method, capsule.get()));
  py_check(PyObject_CallMethod(future, "add_done_callback", "O", callback.get()));
  // Asked once more: the loop may have had a turn in the middle of the call, in which a future that was not
  // done is, and did not have the callback yet.
  if (!is_done(future)) blocking::wait(baton, loop::Deadline::after_or_never(seconds));
  static_cast<WaiterHandle*>(PyCapsule_GetPointer(capsule.get(), kWaiterHandleName))->baton = nullptr;
  return is_done(future);
}

PyRef result_of(PyObject* future) { return py_check(PyObject_CallMethod(future, "result", nullptr)); }

[[noreturn]] void raise_timeout() {
  PyErr_SetNone(asyncio_names().timeout_error);
  throw PyError{};
}

// The result of a future that was cancelled; null when the cancellation is all that came of it. That
// of asyncio.gather() is never cancelled(): it ends with the error. Throws PyError with another one.
PyRef result_of_cancelled(PyObject* future) {
  PyRef result = PyRef::steal(PyObject_CallMethod(future, "result", nullptr));
  if (result) return result;
  if (!PyErr_ExceptionMatches(asyncio_names().cancelled_error)) throw PyError{};
  PyErr_Clear();
  return result;
}

// The request is interrupted: what it awaited is cancelled and given time to clean up.
void end_interrupted(VirtualThread& thread, PyObject* future) {
  py_check(PyObject_CallMethod(future, "cancel", nullptr));
  const Shielded shielded(thread);
  if (!wait_until_done(thread, future, kCleanUpS)) return;
  try {
    result_of_cancelled(future);
  } catch (const PyError&) {
    PyErr_WriteUnraisable(future);  // Of the cleaning up; the request has its own exception.
  }
}

// As asyncio.wait_for() ends: cancelled, and given time to clean up. A result that came all the
// same is the result.
PyRef end_timed_out(VirtualThread& thread, PyObject* future) {
  py_check(PyObject_CallMethod(future, "cancel", nullptr));
  const bool done = wait_until_done(thread, future, kCleanUpS);
  if (!done) raise_if_interrupted(thread);
  if (!done) raise_timeout();
  if (PyRef result = result_of_cancelled(future)) return result;
  raise_timeout();
}

// A task or future of the worker's loop. A coroutine's context is a copy of the request's.
PyRef as_future(PyObject* awaitable, PyObject* event_loop) {
  return call_with_option(asyncio_names().ensure_future, py_check(PyTuple_Pack(1, awaitable)), "loop",
                          event_loop);
}

PyRef await_future(VirtualThread& thread, PyObject* future, double seconds) {
  if (wait_until_done(thread, future, seconds)) return result_of(future);
  if (thread.task().interrupt().in_force()) end_interrupted(thread, future);
  raise_if_interrupted(thread);
  return end_timed_out(thread, future);
}

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

// It waits for a lock of its own, which suspends: no loop is needed.
PyRef await_concurrent(PyObject* future, PyObject* timeout) {
  PyRef result = PyRef::steal(PyObject_CallMethod(future, "result", "(O)", timeout));
  if (result) return result;
  const ErrorAside error;
  // Its own error, or the time is over: then it need not begin any more.
  if (!is_done(future)) py_check(PyObject_CallMethod(future, "cancel", nullptr));
  throw PyError{};
}

}  // namespace

PyRef await_in_request(PyObject* awaitable, PyObject* timeout) {
  const double seconds = seconds_of(timeout);
  VirtualThread& thread = waiting_thread("await_");
  if (is_concurrent_future(awaitable))
    return await_concurrent(awaitable, timeout == nullptr ? Py_None : timeout);
  WorkerLoop& worker = running_worker_loop("await_");
  const PyRef future = as_future(awaitable, worker.event_loop());
  return await_future(thread, future.get(), seconds);
}

namespace {

// --- The module's functions ---------------------------------------------------------------------

PyObject* await_function(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"", "timeout", nullptr};
    PyObject *awaitable, *timeout = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:await_", const_cast<char**>(names), &awaitable,
                                     &timeout))
      throw PyError{};
    return await_in_request(awaitable, timeout);
  });
}

PyObject* gather(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    static const char* const names[] = {"return_exceptions", "timeout", nullptr};
    PyObject *return_exceptions = Py_False, *timeout = Py_None;
    const PyRef nothing = py_check(PyTuple_New(0));
    if (!PyArg_ParseTupleAndKeywords(nothing.get(), kwargs, "|$OO:gather_", const_cast<char**>(names),
                                     &return_exceptions, &timeout)) {
      throw PyError{};
    }
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
     "Waits, in plain code of a request, for a coroutine, a future or task of the worker's event\n"
     "loop, a Tornado future or a concurrent.futures one, and returns its result or raises its\n"
     "exception. Only this request is suspended. A coroutine runs as a task with a copy of the\n"
     "request's context variables. After `timeout` seconds what is awaited is cancelled, given 5\n"
     "seconds to clean up, and TimeoutError is raised.\n\n"
     "Raises RuntimeError where an event loop runs (use await there), outside a worker, and in a\n"
     "no_suspend() section."},
    {"gather_", as_method(gather), METH_VARARGS | METH_KEYWORDS,
     "gather_($module, /, *awaitables, return_exceptions=False, timeout=None)\n--\n\n"
     "await_() for several at once: their results as a list, in order; as asyncio.gather(). The first\n"
     "exception is raised, and the others run on; with return_exceptions=True exceptions are results. After\n"
     "`timeout` seconds all are cancelled, given 5 seconds to clean up, and TimeoutError is raised.\n\n"
     "Raises RuntimeError where await_() does."},
    {"to_thread", as_method(to_thread), METH_VARARGS | METH_KEYWORDS,
     "to_thread($module, function, /, *args, **kwargs)\n--\n\n"
     "Runs the function on a real thread of a pool while this request is\n"
     "suspended, and returns its result or raises its exception; for C code that computes with the GIL\n"
     "given up. Nothing stops the thread where the request is interrupted.\n\n"
     "Raises RuntimeError where await_() does, TypeError without a function."},
    {"sleep", sleep, METH_O,
     "sleep($module, seconds, /)\n--\n\n"
     "time.sleep() for that many seconds, that refuses to stop the event loop or the worker.\n\n"
     "Raises RuntimeError where an event loop runs, outside a worker and in a no_suspend() section."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace python
