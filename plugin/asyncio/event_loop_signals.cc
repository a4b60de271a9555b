#include "plugin/asyncio/event_loop_signals.h"

#include <Python.h>
#include <fcntl.h>
#include <unistd.h>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/event_loop.h"
#include "plugin/asyncio/signal_pipe.h"

namespace python {

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
    if (pipe2(ends_, O_NONBLOCK | O_CLOEXEC) != 0) {
      PyErr_SetFromErrno(PyExc_OSError);
      throw PyError{};
    }
    readable_.start(ends_[0], EV_READ);
  }
  return ends_[1];
}

void SignalWakeup::run_begins() {
  if (!on_main_thread()) return;
  const int end = descriptor();
  const int before = set_wakeup_fd(end);
  ours_ = before < 0 || before == end;
  if (!ours_) set_wakeup_fd(before);
}

// Handlers that add_signal_handler() set keep the descriptor: signals that arrive between two
// runs are handled in the second.
void SignalWakeup::run_ends() noexcept {
  if (!std::exchange(ours_, false) || has_handlers()) return;
  const int last = set_wakeup_fd(-1);
  if (last != ends_[1]) set_wakeup_fd(last);
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
