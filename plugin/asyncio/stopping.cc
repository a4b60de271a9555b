#include "plugin/asyncio/stopping.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/await.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/wait.h"
#include "plugin/blocking/watched.h"
#include "plugin/python/interruption.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/static_type.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

struct Event {
  PyObject_HEAD PyObject* waiters;  // The set of asyncio futures that wait, of any loop.
  int fd;  // An eventfd, readable once the worker stops; -1 until somebody asks for it.
};

Event* event = nullptr;  // Owned, for the life of the process; made by the first import.
bool begun = false;      // Once the worker stops, it stops.

int make_fd() noexcept { return eventfd(begun, EFD_CLOEXEC | EFD_NONBLOCK); }

int descriptor() {
  if (event->fd < 0) event->fd = make_fd();
  if (event->fd >= 0) return event->fd;
  raise_errno(errno);
}

// An eventfd is shared across a fork, the event is not. The number stays: it may be watched already.
void after_fork() noexcept {
  if (event->fd < 0) return;
  const int own = make_fd();
  if (own < 0) return;
  dup3(own, event->fd, O_CLOEXEC);
  close(own);
}

// --- For plain code ------------------------------------------------------------------------------

PyObject* is_set(PyObject*, PyObject*) noexcept { return PyBool_FromLong(begun); }

PyObject* fileno(PyObject*, PyObject*) noexcept {
  return py_boundary([] { return py_check(PyLong_FromLong(descriptor())); });
}

void suspend_until_set(double seconds) {
  VirtualThread& thread = waiting_thread("stopping.wait");
  suspend::Baton baton(thread.fiber(), "stopping", blocking::Abort::kAllowed, descriptor());
  const blocking::Watched watched(baton, descriptor(), EV_READ);
  blocking::wait(baton, loop::Deadline::after_or_never(seconds));
  raise_if_interrupted(thread);
}

// On a real thread, and where there is no worker. select knows of signals and of the GIL.
void block_until_set(double seconds) {
  if (get_running_loop().get() != Py_None) {
    raise(PyExc_RuntimeError, "stopping.wait() would stop the event loop that runs here: await it");
  }
  const PyRef poll = py_check(PyObject_CallObject(imported("select", "poll").get(), nullptr));
  py_check(PyObject_CallMethod(poll.get(), "register", "ii", descriptor(), POLLIN));
  const PyRef timeout = seconds < 0 ? none() : py_check(PyFloat_FromDouble(seconds * 1e3));
  py_check(PyObject_CallMethod(poll.get(), "poll", "(O)", timeout.get()));
}

PyObject* wait(PyObject*, PyObject* args, PyObject* kwargs) noexcept {
  return py_boundary([=] {
    PyObject* timeout = Py_None;
    parse_arguments(args, kwargs, "|O:wait", {"timeout"}, &timeout);
    const double seconds = seconds_of(timeout);
    const WorkerLoop* const worker = WorkerLoop::instance();
    const bool in_worker = worker != nullptr && worker->running() && blocking::on_loop_thread();
    if (!begun && in_worker) suspend_until_set(seconds);
    else if (!begun) block_until_set(seconds);
    return boolean(begun);
  });
}

// --- For async code ------------------------------------------------------------------------------

// On the loop of the future, which may have been cancelled meanwhile.
PyObject* resolve(PyObject*, PyObject* future) noexcept {
  return py_boundary([=] {
    if (is_true(py_check(PyObject_CallMethod(future, "done", nullptr)))) return none();
    return py_check(PyObject_CallMethod(future, "set_result", "O", Py_True));
  });
}

PyMethodDef resolve_method = {"uwsgi_tornado_stopping", resolve, METH_O, nullptr};

PyObject* await_event(PyObject*) noexcept {
  return py_boundary([] {
    const PyRef loop = get_running_loop();
    if (loop.get() == Py_None)
      raise(PyExc_RuntimeError, "stopping can be awaited only in async code: in plain code call wait()");
    const PyRef future = py_check(PyObject_CallMethod(loop.get(), "create_future", nullptr));
    if (begun) {
      py_check(PyObject_CallMethod(future.get(), "set_result", "O", Py_True));
    } else {
      py_check_status(PySet_Add(event->waiters, future.get()));
      const PyRef forget = py_check(PyObject_GetAttrString(event->waiters, "discard"));
      py_check(PyObject_CallMethod(future.get(), "add_done_callback", "O", forget.get()));
    }
    return py_check(PyObject_CallMethod(future.get(), "__await__", nullptr));
  });
}

void wake(PyObject* future, const PyRef& resolve_it) {
  const PyRef loop = py_check(PyObject_CallMethod(future, "get_loop", nullptr));
  py_check(PyObject_CallMethod(loop.get(), "call_soon_threadsafe", "OO", resolve_it.get(), future));
}

void wake_waiters() {
  const PyRef futures = py_check(PySequence_List(event->waiters));
  const PyRef resolve_it = py_check(PyCFunction_New(&resolve_method, nullptr));
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures.get()); ++i) {
    try {
      wake(PyList_GET_ITEM(futures.get(), i), resolve_it);
    } catch (const PyError&) {
      PyErr_Clear();  // Its loop has been closed.
    }
  }
}

// --- The type ------------------------------------------------------------------------------------

PyMethodDef methods[] = {
    {"is_set", is_set, METH_NOARGS,
     "is_set($self, /)\n--\n\n"
     "Returns True once this worker is ending; it then accepts no more requests."},
    {"wait", as_method(wait), METH_VARARGS | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\n"
     "Suspends this request until the worker is ending, at most `timeout` seconds, and returns is_set():\n"
     "a sleep that a reload cuts short. On a real thread it blocks that thread.\n\n"
     "Raises RuntimeError while an event loop runs (await the object instead) and in a no_suspend()\n"
     "section."},
    {"fileno", fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\n"
     "A descriptor that becomes readable when the event is set, for select, poll and epoll. Do not read\n"
     "or close it."},
    {nullptr, nullptr, 0, nullptr},
};

PyAsyncMethods async_methods = {await_event};

constexpr char kDoc[] =
    "The event that is set when this worker begins to end: by a reload, max-requests or a signal. From\n"
    "then on running requests have worker-reload-mercy to finish. Plain code calls is_set() or wait();\n"
    "async code awaits it, on any event loop. In a process that is not a worker it is never set.";

PyTypeObject* event_type() {
  return static_type<Event>("uwsgi_tornado.Stopping", [](PyTypeObject& t) {
    t.tp_doc = kDoc;
    t.tp_methods = methods;
    t.tp_as_async = &async_methods;
  });
}

void make_event() {
  PyTypeObject* const type = event_type();
  PyRef waiters = py_check(PySet_New(nullptr));
  PyRef made = py_check(type->tp_alloc(type, 0));
  event = reinterpret_cast<Event*>(made.release());
  event->waiters = waiters.release();
  event->fd = -1;
  pthread_atfork(nullptr, nullptr, after_fork);
}

}  // namespace

void add_stopping(PyObject* module) {
  if (event == nullptr) make_event();
  py_check_status(PyObject_SetAttrString(module, "stopping", reinterpret_cast<PyObject*>(event)));
}

void set_stopping() noexcept {
  if (std::exchange(begun, true) || event == nullptr) return;
  const std::uint64_t one = 1;
  if (event->fd >= 0) static_cast<void>(!write(event->fd, &one, sizeof one));
  try {
    wake_waiters();
  } catch (const PyError&) {
    PyErr_WriteUnraisable(reinterpret_cast<PyObject*>(event));
  }
}

}  // namespace python
