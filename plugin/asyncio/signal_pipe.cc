#include "plugin/asyncio/signal_pipe.h"

#include <Python.h>
#include <fcntl.h>
#include <unistd.h>

#include "plugin/python/py_ref.h"

namespace python {

int set_wakeup_fd(int fd) noexcept {
  try {
    const PyRef module = py_check(PyImport_ImportModule("signal"));
    const PyRef set = py_check(PyObject_GetAttrString(module.get(), "set_wakeup_fd"));
    const PyRef args = py_check(Py_BuildValue("(i)", fd));
    const PyRef options = py_check(Py_BuildValue("{s:O}", "warn_on_full_buffer", Py_False));
    const PyRef before = py_check(PyObject_Call(set.get(), args.get(), options.get()));
    return static_cast<int>(PyLong_AsLong(before.get()));
  } catch (const PyError&) {
    PyErr_Clear();
    return -1;
  }
}

SignalPipe::SignalPipe(loop::IoLoop& loop) noexcept : readable_(loop.raw(), this) {
  if (pipe2(ends_, O_NONBLOCK | O_CLOEXEC) != 0) return;  // Handlers then run with the next event.
  const int before = set_wakeup_fd(ends_[1]);
  ours_ = before < 0;
  if (ours_) readable_.start(ends_[0], EV_READ);
  else set_wakeup_fd(before);
}

SignalPipe::~SignalPipe() {
  if (ours_) set_wakeup_fd(-1);
  readable_.stop();
  for (const int end : ends_) {
    if (end >= 0) close(end);
  }
}

// Nothing to do but to empty it: the turn that follows runs the handlers.
void SignalPipe::on_byte(int) noexcept {
  char bytes[64];
  while (read(ends_[0], bytes, sizeof bytes) > 0) continue;
}

}  // namespace python
