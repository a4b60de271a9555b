#include "plugin/asyncio/asgiref.h"

#include <unistd.h>

#include "plugin/python/py_ref.h"
#include "plugin/asyncio/worker_loop.h"

namespace python {
namespace {

PyObject* imported_asgiref() noexcept {
  static PyObject* const name = PyUnicode_InternFromString("asgiref.sync");
  return PyDict_GetItem(PyImport_GetModuleDict(), name);  // Borrowed.
}

// Before 3.7 asgiref finds the executor that leads back to the request's thread by the task, so tasks
// that a task makes (asyncio.gather) do not find it, and on a shared loop they fall to one thread for
// all. As in 3.7, the context says it. asgiref carries changes of a context to and fro; this variable
// must stay as it is in each, so its values compare equal: nothing to restore.
constexpr char kExecutorsByContext[] = R"(
import contextvars
from asgiref import __version__
from asgiref.sync import AsyncToSync

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

if tuple(map(int, __version__.split('.')[:2])) < (3, 7):
    AsyncToSync.executors = ExecutorsByContext()
)";

void find_executors_by_context() {
  static bool done = false;
  if (done) return;
  const PyRef names = py_check(PyDict_New());
  py_check_status(PyDict_SetItemString(names.get(), "__builtins__", PyEval_GetBuiltins()));
  py_check_status(PyDict_SetItemString(names.get(), "__name__", py_check(PyUnicode_FromString("uwsgi_tornado")).get()));
  py_check(PyRun_String(kExecutorsByContext, Py_file_input, names.get(), names.get()));
  done = true;
}

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

bool share_loop_with_asgiref() noexcept {
  const WorkerLoop* const worker = WorkerLoop::instance();
  PyObject* const asgiref = imported_asgiref();
  if (worker == nullptr || !worker->running() || asgiref == nullptr) return false;
  try {
    find_executors_by_context();
    set_main_event_loop(asgiref, worker->event_loop());
  } catch (const PyError&) {
    PyErr_Clear();  // Half imported yet, or another version: it runs a loop of its own.
    return false;
  }
  return true;
}

}  // namespace python
