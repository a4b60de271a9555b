#include "plugin/asyncio/event_loop_process.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/derived_type.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/static_type.h"

namespace python {
namespace {

constexpr char kPidfd[] = "uwsgi_tornado.pidfd";

int open_pidfd(pid_t pid) noexcept { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

// A capsule cannot hold null, hence the one.
void* to_pointer(int fd) noexcept { return reinterpret_cast<void*>(static_cast<std::intptr_t>(fd) + 1); }
int to_fd(PyObject* capsule) noexcept {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(PyCapsule_GetPointer(capsule, kPidfd)) - 1);
}
void close_pidfd(PyObject* capsule) noexcept { close(to_fd(capsule)); }

// What the child ended with, as subprocess.Popen.returncode says it.
int exit_code_of(int pid) {
  int status;
  if (waitpid(pid, &status, 0) != pid) {
    const PyRef logger = py_check(PyObject_GetAttrString(asyncio_names().unix_events, "logger"));
    py_check(PyObject_CallMethod(logger.get(), "warning", "si",
                                 "child process pid %d exit status already read:  will report returncode 255",
                                 pid));
    return 255;
  }
  if (WIFSIGNALED(status)) return -WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : status;
}

// The reader of a pidfd. `self` is (loop, pid, pidfd, callback, args).
PyObject* child_ended(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    PyObject *loop, *pidfd, *callback, *args;
    int pid;
    if (!PyArg_ParseTuple(self, "OiOOO", &loop, &pid, &pidfd, &callback, &args)) throw PyError{};
    py_check(PyObject_CallMethod(loop, "_remove_reader", "i", to_fd(pidfd)));
    const PyRef result = py_check(Py_BuildValue("(ii)", pid, exit_code_of(pid)));
    const PyRef all = py_check(PySequence_Concat(result.get(), args));
    return py_check(PyObject_CallObject(callback, all.get()));
  });
}

PyMethodDef child_ended_method = {"child_ended", child_ended, METH_NOARGS, nullptr};

// --- The child watcher: asyncio's interface of that name, for whichever loop runs ------------

PyObject* add_child_handler(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    const PyRef fixed = py_check(PySequence_GetSlice(args, 0, 2));
    const PyRef rest = py_check(PySequence_GetSlice(args, 2, PyTuple_GET_SIZE(args)));
    int pid;
    PyObject* callback;
    if (!PyArg_ParseTuple(fixed.get(), "iO", &pid, &callback)) throw PyError{};
    const PyRef loop = get_running_loop();
    const int fd = open_pidfd(pid);
    if (fd < 0) raise_errno(errno);
    const PyRef pidfd = py_check(PyCapsule_New(to_pointer(fd), kPidfd, close_pidfd));
    const PyRef child =
        py_check(Py_BuildValue("(OiOOO)", loop.get(), pid, pidfd.get(), callback, rest.get()));
    const PyRef reader = py_check(PyCFunction_New(&child_ended_method, child.get()));
    return py_check(PyObject_CallMethod(loop.get(), "_add_reader", "iO", fd, reader.get()));
  });
}

// A watcher that the program has set (asyncio.set_child_watcher) is respected; what asyncio takes by
// itself is a thread for each child, and this one does without.
PyObject* get_child_watcher(PyObject* self, PyObject*) noexcept {
  return py_boundary([=] {
    const PyRef policy =
        py_check(PyObject_CallMethod(asyncio_names().events, "get_event_loop_policy", nullptr));
    PyRef set = PyRef::steal(PyObject_GetAttrString(policy.get(), "_watcher"));
    PyErr_Clear();
    const PyRef threads =
        py_check(PyObject_GetAttrString(asyncio_names().unix_events, "ThreadedChildWatcher"));
    const bool by_program = set && set.get() != Py_None && !PyObject_IsInstance(set.get(), threads.get());
    return by_program ? set : PyRef::borrow(self);
  });
}

PyObject* return_self(PyObject* self, PyObject*) noexcept { return PyRef::borrow(self).release(); }
PyObject* return_none(PyObject*, PyObject*) noexcept { return none().release(); }
PyObject* is_active(PyObject*, PyObject*) noexcept { return PyRef::borrow(Py_True).release(); }

PyMethodDef child_watcher_methods[] = {
    {"get_child_watcher", get_child_watcher, METH_NOARGS, nullptr},
    {"__enter__", return_self, METH_NOARGS, nullptr},
    {"__exit__", return_none, METH_VARARGS, nullptr},
    {"is_active", is_active, METH_NOARGS, nullptr},
    {"add_child_handler", add_child_handler, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyRef make_child_watcher() {
  PyTypeObject* const type = static_type<PyObject>(
      "uwsgi_tornado._ChildWatcher", [](PyTypeObject& t) { t.tp_methods = child_watcher_methods; });
  return py_check(type->tp_alloc(type, 0));
}

bool kernel_has_pidfds() noexcept {
  const int fd = open_pidfd(getpid());
  if (fd < 0) return false;
  close(fd);
  return true;
}

}  // namespace

// asyncio's _make_subprocess_transport() asks the module `events` for the policy's child watcher;
// up to CPython 3.11 that starts a thread for each child. Ours is asyncio's own function, for which
// `events` is our watcher.
void add_subprocess_methods(PyObject* class_body) {
  const bool has_watchers = PyObject_HasAttrString(asyncio_names().unix_events, "ThreadedChildWatcher");
  if (!has_watchers || !kernel_has_pidfds()) return;
  replace_global(class_body, "_make_subprocess_transport", "events", make_child_watcher().get());
}

// --- Forks ------------------------------------------------------------------------------------

// A child that goes on in the callback would send what that has written once more.
void EventLoop::watch_for_forks() {
  const auto send = [](PyObject*, PyObject*) noexcept -> PyObject* {
    for (EventLoop* loop = first_loop_; loop != nullptr; loop = loop->next_loop_)
      loop->kept_writes_.send_untold();
    return none().release();
  };
  const auto make_new = [](PyObject*, PyObject*) noexcept -> PyObject* {
    for (EventLoop* loop = first_loop_; loop != nullptr; loop = loop->next_loop_) loop->after_fork();
    return none().release();
  };
  static PyMethodDef before = {"before_fork", send, METH_NOARGS, nullptr};
  static PyMethodDef after = {"after_fork_in_child", make_new, METH_NOARGS, nullptr};
  const PyRef before_fork = py_check(PyCFunction_New(&before, nullptr));
  const PyRef after_fork = py_check(PyCFunction_New(&after, nullptr));
  const PyRef options =
      py_check(Py_BuildValue("{s:O,s:O}", "before", before_fork.get(), "after_in_child", after_fork.get()));
  py_check(
      PyObject_Call(imported("os", "register_at_fork").get(), py_check(PyTuple_New(0)).get(), options.get()));
}

}  // namespace python
