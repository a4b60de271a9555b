#include "plugin/engine/uwsgi_module.h"

#include <Python.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "plugin/blocking/fd_retry.h"
#include "plugin/engine/engine.h"
#include "plugin/python/interruption.h"
#include "plugin/python/py_ref.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

using python::boolean;
using python::none;
using python::py_boundary;
using python::py_check;
using python::PyError;
using python::PyRef;
using python::raise;

// What uWSGI had under that name, for the process's life.
struct {
  PyObject* async_sleep;
  PyObject* connect;
  PyObject* recv;
  PyObject* send;
  PyObject* signal_wait;
  PyObject* suspend;
} uwsgis;

PyRef empty_bytes() { return py_check(PyBytes_FromString("")); }

void parse(bool parsed) {
  if (!parsed) throw PyError{};
}

// --- async_sleep(seconds): uWSGI's leaves fractions of a second out ------------------------------

PyObject* async_sleep(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    RequestThread* const thread = RequestThread::waiting();
    if (thread == nullptr) return py_check(PyObject_CallObject(uwsgis.async_sleep, args));
    double seconds;
    parse(PyArg_ParseTuple(args, "d:async_sleep", &seconds));
    thread->async_wait().sleep_for(seconds);
    return empty_bytes();
  });
}

// --- connect(), send(), recv(): on descriptors that block ----------------------------------------

int connect_suspending(char* address, int timeout_s) noexcept {
  constexpr int kTimeoutS = 3;  // Where none is named, as in uWSGI.
  const int fd = uwsgi_connect(address, 0, 1);
  if (fd < 0) return -1;
  const bool came = uwsgi.wait_write_hook(fd, timeout_s < 1 ? kTimeoutS : timeout_s) > 0;
  if (came && blocking::socket_option(fd, SO_ERROR) == 0) {
    uwsgi_socket_b(fd);
    return fd;
  }
  close(fd);
  return -1;
}

PyObject* connect(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    if (RequestThread::waiting() == nullptr) return py_check(PyObject_CallObject(uwsgis.connect, args));
    char* address;
    int timeout_s = 0;
    parse(PyArg_ParseTuple(args, "s|i:connect", &address, &timeout_s));
    return py_check(PyLong_FromLong(connect_suspending(address, timeout_s)));
  });
}

// Calls transfer() when it would not block. What is no socket cannot be asked not to block, so it
// is asked first whether it would.
template <typename OnSocket, typename Otherwise, typename Wait>
ssize_t transfer(OnSocket on_socket, Otherwise otherwise, Wait wait) noexcept {
  for (;;) {
    const ssize_t count = on_socket();
    if (count >= 0) return count;
    if (errno == ENOTSOCK) return wait() > 0 ? otherwise() : -1;
    if (errno == EINTR) continue;
    if (!blocking::would_block() || wait() <= 0) return -1;
  }
}

ssize_t send_suspending(int fd, const char* data, std::size_t size) noexcept {
  std::size_t sent = 0;
  while (sent < size) {
    const ssize_t count =
        transfer([=] { return send(fd, data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL); },
                 // What a pipe takes whole when it is ready.
                 [=] { return write(fd, data + sent, std::min(size - sent, std::size_t{PIPE_BUF})); },
                 [=] { return uwsgi.wait_write_hook(fd, 0); });
    if (count < 0) return -1;
    sent += static_cast<std::size_t>(count);
  }
  return static_cast<ssize_t>(sent);
}

// send([fd,] data): uWSGI's, where the descriptor does not block.
PyObject* send(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    RequestThread* const thread = RequestThread::waiting();
    PyObject* first;
    PyObject* second = nullptr;
    parse(PyArg_ParseTuple(args, "O|O:send", &first, &second));
    const long fd = thread == nullptr ? -1 : second == nullptr ? thread->request()->fd : PyLong_AsLong(first);
    if (fd == -1 && PyErr_Occurred()) throw PyError{};
    PyObject* const data = second == nullptr ? first : second;
    const bool ours = fd >= 0 && PyBytes_Check(data) && !blocking::is_nonblocking(static_cast<int>(fd));
    if (!ours) return py_check(PyObject_CallObject(uwsgis.send, args));
    const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(data));
    if (send_suspending(static_cast<int>(fd), PyBytes_AS_STRING(data), size) < 0) {
      uwsgi_error("write()");
      return none();
    }
    return PyRef::borrow(Py_True);
  });
}

PyObject* recv(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    char buffer[4096];
    int fd;
    int size = sizeof buffer;
    parse(PyArg_ParseTuple(args, "i|i:recv", &fd, &size));
    if (RequestThread::waiting() == nullptr || size < 0 || blocking::is_nonblocking(fd)) {
      return py_check(PyObject_CallObject(uwsgis.recv, args));
    }
    const std::size_t at_most = std::min(static_cast<std::size_t>(size), sizeof buffer);
    const ssize_t count =
        transfer([&] { return recv(fd, buffer, at_most, MSG_DONTWAIT); },
                 [&] { return read(fd, buffer, at_most); }, [=] { return uwsgi.wait_read_hook(fd, 0); });
    return count > 0 ? py_check(PyBytes_FromStringAndSize(buffer, count)) : none();
  });
}

// --- signal_wait([signal]): uWSGI's polls the sockets that the loop watches ---------------------

PyObject* signal_wait(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    RequestThread* const thread = RequestThread::waiting();
    if (thread == nullptr) return py_check(PyObject_CallObject(uwsgis.signal_wait, args));
    unsigned char number = 0;
    parse(PyArg_ParseTuple(args, "|b:signal_wait", &number));
    wsgi_request* const request = thread->request();
    request->signal_received = -1;
    const int wanted = PyTuple_Size(args) > 0 ? number : Signals::kAny;
    const int received = Engine::instance()->signals().wait(*thread, wanted);
    python::raise_if_interrupted(*thread);
    if (received < 0) {
      raise(PyExc_SystemError, "error waiting for signal");
    }
    request->signal_received = received;
    return empty_bytes();
  });
}

// --- suspend(): uWSGI's knows no interruption ----------------------------------------------------

PyObject* suspend(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    PyRef result = py_check(PyObject_CallObject(uwsgis.suspend, args));
    if (RequestThread* const thread = RequestThread::waiting()) python::raise_if_interrupted(*thread);
    return result;
  });
}

// --- sharedarea_wait(id, milliseconds=100, timeout_s=0): uWSGI's Python has none -----------------

PyObject* sharedarea_wait(PyObject*, PyObject* args) noexcept {
  return py_boundary([=] {
    int id;
    int rest_ms = 0;
    int timeout_s = 0;
    parse(PyArg_ParseTuple(args, "i|ii:sharedarea_wait", &id, &rest_ms, &timeout_s));
    // -1: no such area; -2: the timeout.
    const int status =
        id < 0 || rest_ms < 0 || timeout_s < 0 ? -1 : uwsgi_sharedarea_wait(id, rest_ms, timeout_s);
    if (status == -1) {
      raise(PyExc_ValueError, "error calling uwsgi_sharedarea_wait()");
    }
    return boolean(status == 0);
  });
}

PyMethodDef functions[] = {
    {"async_sleep", async_sleep, METH_VARARGS,
     "async_sleep(seconds): makes the next yield or suspend() wait for that time"},
    {"connect", connect, METH_VARARGS, "connect(address, timeout=3): returns a descriptor, or -1"},
    {"recv", recv, METH_VARARGS, "recv(fd, size=4096): returns the data received, or None"},
    {"send", send, METH_VARARGS, "send([fd,] data): returns True once all data is sent, or None"},
    {"signal_wait", signal_wait, METH_VARARGS,
     "signal_wait([signal]): waits until that signal, or any signal, has been handled by this worker"},
    {"suspend", suspend, METH_VARARGS,
     "suspend(): waits for the events that the request has asked for, or for its next turn"},
    {nullptr, nullptr, 0, nullptr},
};

PyMethodDef new_functions[] = {
    {"sharedarea_wait", sharedarea_wait, METH_VARARGS,
     "sharedarea_wait(id, milliseconds=100, timeout=0): waits for an update of the shared area, and looks\n"
     "for one every `milliseconds`. Returns True after an update, False after `timeout` seconds"},
    {nullptr, nullptr, 0, nullptr},
};

PyObject* named(PyObject* names, const char* name) {
  return PyRef::borrow(PyDict_GetItemString(names, name)).release();
}

void replace() {
  PyObject* const module = PyDict_GetItemString(PyImport_GetModuleDict(), "uwsgi");
  if (module == nullptr) return;
  PyObject* const names = PyModule_GetDict(module);
  uwsgis = {named(names, "async_sleep"), named(names, "connect"),     named(names, "recv"),
            named(names, "send"),        named(names, "signal_wait"), named(names, "suspend")};
  python::py_check_status(PyModule_AddFunctions(module, functions));
  // A uWSGI that has one may mean something else by it.
  if (PyDict_GetItemString(names, "sharedarea_wait") == nullptr) {
    python::py_check_status(PyModule_AddFunctions(module, new_functions));
  }
}

}  // namespace

void replace_functions_of_uwsgi() noexcept {
  try {
    replace();
  } catch (const PyError&) {
    PyErr_Clear();  // Out of memory: uWSGI's own stay.
  }
}

}  // namespace engine
