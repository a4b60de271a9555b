#include "plugin/asyncio/await.h"

#include <algorithm>
#include <memory>

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
    raise(PyExc_RuntimeError, "%s() would stop the event loop that runs here: in async code use await",
          function);
  }
  if (thread == nullptr) {
    raise(PyExc_RuntimeError,
          "%s() waits for the event loop of a uWSGI worker: call it in a request or in spawn()", function);
  }
  if (!thread->may_suspend()) {
    raise(PyExc_RuntimeError,
          "%s() in a no_suspend() section would wait for ever: the event loop cannot run meanwhile",
          function);
  }
  return *thread;
}

WorkerLoop& running_worker_loop(const char* function) {
  WorkerLoop* const worker = WorkerLoop::instance();
  if (worker != nullptr && worker->running()) return *worker;
  raise(PyExc_RuntimeError, "%s() needs a uWSGI worker that runs with --tornado", function);
}

double seconds_of(PyObject* timeout) {
  if (timeout == nullptr || timeout == Py_None) return -1;
  return std::max(as_double(timeout), 0.0);
}

namespace {

// How long a task that a timeout has cancelled may take to clean up.
constexpr double kCleanUpS = 5;

// --- Waiting for a future ----------------------------------------------------------------------

// Data for the future's callback, which may be called when nobody waits any more.
struct WaiterHandle {
  suspend::Baton* baton;
};

constexpr char kWaiterHandleName[] = "uwsgi_tornado.WaiterHandle";

// The callback of the future: callback(future), with the handle in a capsule.
PyObject* future_is_done(PyObject* capsule, PyObject*) noexcept {
  auto* const handle = static_cast<WaiterHandle*>(PyCapsule_GetPointer(capsule, kWaiterHandleName));
  // In a turn of its own, because this is called in the middle of an asyncio callback.
  if (handle->baton != nullptr) handle->baton->post_next_turn();
  return none().release();
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

// The request is interrupted: cancels the awaitable and gives it time to clean up.
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

PyRef await_in_request(PyObject* awaitable, PyObject* timeout) {
  const double seconds = seconds_of(timeout);
  VirtualThread& thread = waiting_thread("await_");
  if (is_concurrent_future(awaitable))
    return await_concurrent(awaitable, timeout == nullptr ? Py_None : timeout);
  WorkerLoop& worker = running_worker_loop("await_");
  const PyRef future = as_future(awaitable, worker.event_loop());
  return await_future(thread, future.get(), seconds);
}

}  // namespace python
