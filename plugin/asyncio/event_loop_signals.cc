#include "plugin/asyncio/event_loop_signals.h"

#include <Python.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"

namespace python {
namespace {

// signal.set_wakeup_fd(fd, warn_on_full_buffer=False). Returns the one before, -1 for none. Throws PyError.
int set_wakeup_fd(int fd) {
  const PyRef before = call_with_option(imported("signal", "set_wakeup_fd").get(),
                                        py_check(Py_BuildValue("(i)", fd)), "warn_on_full_buffer", Py_False);
  return static_cast<int>(PyLong_AsLong(before.get()));
}

}  // namespace

SignalWakeup::SignalWakeup(EventLoop& owner, loop::IoLoop& io) noexcept
    : owner_(owner), readable_(io.raw(), this) {}

SignalWakeup::~SignalWakeup() {
  readable_.stop();
  for (const int end : ends_) {
    if (end >= 0) close(end);
  }
}

int SignalWakeup::descriptor() {
  if (ends_[1] < 0) {
    if (pipe2(ends_, O_NONBLOCK | O_CLOEXEC) != 0) raise_errno(errno);
    readable_.start(ends_[0], EV_READ);
  }
  return ends_[1];
}

void SignalWakeup::take() {
  const int before = set_wakeup_fd(descriptor());
  if (before >= 0 && before != ends_[1]) set_wakeup_fd(before);
}

void SignalWakeup::run_begins() {
  if (!on_main_thread()) return;
  running_ = true;
  take();
}

// Handlers that add_signal_handler() set keep the descriptor: signals that arrive between two
// runs are handled in the second.
void SignalWakeup::run_ends() noexcept {
  if (!std::exchange(running_, false) || has_handlers()) return;
  try {
    const int last = set_wakeup_fd(-1);
    if (last != ends_[1]) set_wakeup_fd(last);
  } catch (const PyError&) {
    PyErr_WriteUnraisable(owner_.self());
  }
}

void SignalWakeup::handlers_changed() noexcept {
  if (!running_) return;
  const ErrorAside error;  // Which the change ended in.
  try {
    take();
  } catch (const PyError&) {
  }
}

// The new pipe goes by the old one's numbers, which CPython and the loop go on using.
void SignalWakeup::after_fork() noexcept {
  numbers_.clear();
  int fresh[2];
  if (ends_[0] < 0 || pipe2(fresh, O_NONBLOCK | O_CLOEXEC) != 0) return;
  for (const int side : {0, 1}) {
    dup3(fresh[side], ends_[side], O_CLOEXEC);
    close(fresh[side]);
  }
}

bool SignalWakeup::has_handlers() noexcept {
  const PyRef handlers = PyRef::steal(PyObject_GetAttrString(owner_.self(), "_signal_handlers"));
  const bool has = handlers && PyObject_Size(handlers.get()) > 0;
  PyErr_Clear();
  return has;
}

void SignalWakeup::on_byte(int) noexcept {
  unsigned char bytes[64];
  for (ssize_t got; (got = read(ends_[0], bytes, sizeof bytes)) > 0;) {
    numbers_.insert(numbers_.end(), bytes, bytes + got);
  }
  owner_.add_polled({});  // An attached loop gets its turn.
}

void SignalWakeup::handle_signals() {
  while (!numbers_.empty()) {
    std::vector<unsigned char> numbers;
    numbers.swap(numbers_);
    for (const unsigned char number : numbers) {
      py_check(PyObject_CallMethod(owner_.self(), "_handle_signal", "i", static_cast<int>(number)));
    }
  }
}

}  // namespace python
