#include "plugin/asyncio/asgiref.h"

#include <unistd.h>

#include "plugin/asyncio/worker_loop.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/python_source.h"

namespace python {
namespace {

PyObject* imported_asgiref() noexcept {
  static PyObject* const name = PyUnicode_InternFromString("asgiref.sync");
  return PyDict_GetItem(PyImport_GetModuleDict(), name);  // Borrowed.
}

// What later versions do of themselves.
//
// Before 3.7 asgiref finds the executor that leads back to the request's thread by the task, so tasks
// that a task makes (asyncio.gather) do not find it, and on a shared loop they fall to one thread for
// all. As in 3.7, the context says it. asgiref carries changes of a context to and fro; this variable
// must stay as it is in each, so its values compare equal: nothing to restore.
//
// Where asgiref does not keep `force_new_loop`, it chooses the loop as it wraps a function, and one that is
// wrapped at import finds none. As in later versions, it looks again where the function is called.
constexpr char kLaterVersions[] = R"(
import contextvars
import functools
import os


class Chain(tuple):
    __slots__ = ()
    __hash__ = None

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False


class ExecutorsByContext:
    _chain = contextvars.ContextVar('uwsgi_tornado_executors', default=None)

    def _running(self):
        chain = self._chain.get()
        while chain is not None and chain[0]._broken:
            chain = chain[1]
        return chain

    @property
    def current(self):
        chain = self._running()
        if chain is None:
            raise AttributeError('current')
        return chain[0]

    @current.setter
    def current(self, executor):
        chain = self._running()
        if chain is None or chain[0] is not executor:
            self._chain.set(Chain((executor, chain)))

    @current.deleter
    def current(self):
        chain = self._chain.get()
        self._chain.set(chain and chain[1])


class LoopOfTheCall:
    """AsyncToSync.main_event_loop: what was found at the wrapping, else what the calling thread has."""

    def __init__(self, thread_local):
        self.thread_local = thread_local

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return self
        kept = wrapper.__dict__['main_event_loop']
        if kept is not None or wrapper.__dict__.get('force_new_loop', True):
            return kept
        if getattr(self.thread_local, 'main_event_loop_pid', None) != os.getpid():
            return None
        return getattr(self.thread_local, 'main_event_loop', None)

    def __set__(self, wrapper, loop):
        wrapper.__dict__['main_event_loop'] = loop


def choose_loop_at_call(sync):
    original = sync.AsyncToSync.__init__

    @functools.wraps(original)
    def __init__(self, awaitable, force_new_loop=False):
        self.force_new_loop = force_new_loop
        original(self, awaitable, force_new_loop)

    sync.AsyncToSync.__init__ = __init__
    sync.AsyncToSync.main_event_loop = LoopOfTheCall(sync.SyncToAsync.threadlocal)


def update(sync):
    from asgiref import __version__
    if tuple(map(int, __version__.split('.')[:2])) < (3, 7):
        sync.AsyncToSync.executors = ExecutorsByContext()
    if 'force_new_loop' not in sync.AsyncToSync.__call__.__code__.co_names:
        choose_loop_at_call(sync)
)";

// Where asgiref's AsyncToSync looks for a loop when none runs in its thread: the loop of the thread
// that sync_to_async() came from, of this process.
void set_main_event_loop(PyObject* asgiref, PyObject* event_loop) {
  const PyRef type = py_check(PyObject_GetAttrString(asgiref, "SyncToAsync"));
  const PyRef local = py_check(PyObject_GetAttrString(type.get(), "threadlocal"));
  py_check_status(PyObject_SetAttrString(local.get(), "main_event_loop", event_loop));
  const PyRef pid = py_check(PyLong_FromLong(getpid()));
  py_check_status(PyObject_SetAttrString(local.get(), "main_event_loop_pid", pid.get()));
}

}  // namespace

void prepare_asgiref() {
  when_imported("asgiref.sync", from_python_source(kLaterVersions, "uwsgi_tornado.asgiref", "update"));
}

bool share_loop_with_asgiref() noexcept {
  // Asked at each request until asgiref is imported, which adds modules.
  static Py_ssize_t modules_without_it = 0;
  const Py_ssize_t modules = PyDict_GET_SIZE(PyImport_GetModuleDict());
  if (modules == modules_without_it) return false;
  const WorkerLoop* const worker = WorkerLoop::instance();
  PyObject* const asgiref = imported_asgiref();
  if (asgiref == nullptr) modules_without_it = modules;
  if (worker == nullptr || !worker->running() || asgiref == nullptr) return false;
  try {
    set_main_event_loop(asgiref, worker->event_loop());
  } catch (const PyError&) {
    PyErr_Clear();  // Half imported yet, or another version: it runs a loop of its own.
    return false;
  }
  return true;
}

}  // namespace python
