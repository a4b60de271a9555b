#include "plugin/asyncio/worker_loop.h"

#include <pthread.h>

#include <memory>

#include "plugin/asyncio/policies.h"
#include "plugin/asyncio/transport.h"
#include "plugin/blocking/gate.h"

namespace python {
namespace {

// --- The policy: the current event loop is the worker's --------------------------------------

constexpr char kPolicyDoc[] =
    "asyncio's default policy, except that the current event loop of the worker and of its requests\n"
    "is the worker's own. New loops are asyncio's.";

PyObject* policy_get_event_loop(PyObject*, PyObject* policy) noexcept {
  return py_boundary([=] {
    const WorkerLoop* const worker = WorkerLoop::instance();
    if (worker != nullptr && worker->running() && blocking::on_loop_thread()) {
      PyRef own = loop_set_here(policy);
      return own.get() == Py_None ? PyRef::borrow(worker->event_loop()) : own;
    }
    const PyRef base = default_event_loop_policy_type();
    return py_check(PyObject_CallMethod(base.get(), "get_event_loop", "O", policy));
  });
}

PyMethodDef policy_get_event_loop_method = {"get_event_loop", policy_get_event_loop, METH_O,
                                            "get_event_loop($self, /)\n--\n\nReturns the loop set for this "
                                            "thread or request, otherwise the worker's."};

// A class whose get_event_loop is ours: C functions do not bind, so an instance method wraps it.
PyRef make_policy() {
  const PyRef base = default_event_loop_policy_type();
  const PyRef function = py_check(PyCFunction_New(&policy_get_event_loop_method, nullptr));
  const PyRef method = py_check(PyInstanceMethod_New(function.get()));
  const PyRef body = py_check(Py_BuildValue("{s:s,s:s,s:O}", "__module__", "uwsgi_tornado", "__doc__",
                                            kPolicyDoc, "get_event_loop", method.get()));
  const PyRef type = py_check(PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(O)O",
                                                    "WorkerEventLoopPolicy", base.get(), body.get()));
  return py_check(PyObject_CallObject(type.get(), nullptr));
}

// A callback of asyncio's raised SystemExit or KeyboardInterrupt, which elsewhere end the loop's
// run. Here it would end every request of the worker.
void log_exit() noexcept { PyErr_WriteUnraisable(nullptr); }

}  // namespace

// In every process that uWSGI or the application forks. A child of the running worker has no hub.
void WorkerLoop::after_fork() noexcept {
  if (instance_ == nullptr) return;
  instance_->io_.after_fork();
  if (instance_->event_loop_) EventLoop::of(instance_->event_loop())->after_fork();
  instance_->running_ = false;
}

WorkerLoop& WorkerLoop::make() {
  struct Delete {
    void operator()(WorkerLoop* worker) const noexcept { delete worker; }
  };
  std::unique_ptr<WorkerLoop, Delete> made(new WorkerLoop());
  made->event_loop_ = make_attached_event_loop(made->io_, log_exit);
  set_event_loop_policy(make_policy().get());
  set_event_loop(made->event_loop());
  pthread_atfork(nullptr, nullptr, &WorkerLoop::after_fork);
  instance_ = made.release();
  return *instance_;
}

void WorkerLoop::begin() {
  EventLoop::of(event_loop())->begin_running();
  running_ = true;
}

PyObject* WorkerLoop::real_threads() {
  if (!real_threads_) {
    real_threads_ =
        py_check(PyObject_CallObject(imported("concurrent.futures", "ThreadPoolExecutor").get(), nullptr));
  }
  return real_threads_.get();
}

namespace {

// Cancels all tasks and waits for them; what a task raised meanwhile goes to the exception handler.
// Those that wait for uwsgi_tornado.stopping have it first: one turn of the loop for the future, one
// for the task, one for what it did next. Asked outside the loop, all_tasks() finds those that requests made,
// too: inside it CPython 3.14 looks only at those of the running thread.
constexpr char kFinish[] = R"(
import asyncio

async def turn():
    for _ in range(3):
        await asyncio.sleep(0)

async def finish(loop, tasks, grace):
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=grace)
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler({'message': 'unhandled exception as the worker ends',
                                         'exception': task.exception(), 'task': task})
    await asyncio.wait_for(loop.shutdown_asyncgens(), grace)

def end(loop, grace):
    loop.run_until_complete(turn())
    loop.run_until_complete(finish(loop, asyncio.all_tasks(loop), grace))
)";

void finish(PyObject* event_loop, double grace_s) {
  const PyRef names = py_check(PyDict_New());
  py_check_status(PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()));
  py_check(PyRun_String(kFinish, Py_file_input, names.get(), names.get()));
  PyObject* const function = PyDict_GetItemString(names.get(), "end");  // Borrowed.
  py_check(PyObject_CallFunction(function, "Od", event_loop, grace_s));
}

}  // namespace

void WorkerLoop::end(double grace_s) noexcept {
  if (!event_loop_) return;
  if (running_) EventLoop::of(event_loop())->end_running();
  running_ = false;
  try {
    finish(event_loop(), grace_s);
  } catch (const PyError&) {
    log_exit();
  }
  // The application may have kept a handle or an open connection, and uWSGI keeps the application for ever.
  EventLoop::of(event_loop())->drop_timers();
  SocketTransport::drop_all_of(event_loop());
  if (!PyRef::steal(PyObject_CallMethod(event_loop(), "close", nullptr))) log_exit();
  event_loop_ = PyRef();
  // As the loop does with its own executor: running functions continue, and Python's end waits for them.
  if (real_threads_ && !PyRef::steal(PyObject_CallMethod(real_threads_.get(), "shutdown", "O", Py_False)))
    log_exit();
  real_threads_ = PyRef();
}

void WorkerLoop::destroy() noexcept {
  delete instance_;
  instance_ = nullptr;
}

}  // namespace python
