#include "plugin/python/watchdog.h"

#include <pthread.h>

#include <algorithm>
#include <cerrno>

#include "plugin/blocking/descriptors.h"
#include "plugin/blocking/libc.h"
#include "plugin/loop/clock.h"
#include "suspend/signals_blocked.h"

namespace python {

bool Doorbell::hear(std::int64_t until_ns) noexcept {
  const timespec until = loop::to_timespec(until_ns);
  for (;;) {
    const int result = until_ns == kNever
                           ? blocking::libc::sem_wait(&doorbell_)
                           : blocking::libc::sem_clockwait(&doorbell_, CLOCK_MONOTONIC, &until);
    if (result == 0) return true;
    if (errno != EINTR) return false;  // A debugger interrupts it.
  }
}

void Doorbell::ring() noexcept { blocking::libc::sem_post(&doorbell_); }

void Watchdog::start() {
  if (duties_.empty()) return;
  const suspend::SignalsBlocked for_the_watchdog;
  thread_ = std::thread([this] { watch(); });
}

void Watchdog::stop() noexcept {
  if (!thread_.joinable()) return;
  stopping_ = true;
  doorbell_.ring();
  PyThreadState* const state = PyEval_SaveThread();
  thread_.join();
  PyEval_RestoreThread(state);
}

// The thread, from start to end. Not noexcept: one that wants the GIL of a Python that ends is
// ended by CPython, which unwinds it.
void Watchdog::watch() {
  pthread_setname_np(pthread_self(), "uwsgi-watchdog");
  blocking::leave_descriptors();
  const PyGILState_STATE gil = PyGILState_Ensure();
  state_ = PyGILState_GetThisThreadState();
  PyEval_SaveThread();
  while (!stopping_) look_and_sleep();
  PyEval_RestoreThread(state_);
  PyGILState_Release(gil);
}

void Watchdog::take_gil() {
  waits_here_ = this;
  PyEval_RestoreThread(state_);
  waits_here_ = nullptr;
}

void Watchdog::look_meanwhile() noexcept {
  for (Duty* const duty : duties_) duty->look_meanwhile();
}

void Watchdog::look_and_sleep() {
  constexpr std::int64_t kLongNs = 3600 * loop::kSecondNs;
  std::int64_t next_ns = kLongNs;
  bool until_woken = false;
  for (Duty* const duty : duties_) {
    const std::int64_t in_ns = duty->look(*this);
    if (in_ns == kUntilWoken) until_woken = true;
    else next_ns = std::min(next_ns, in_ns);
  }
  const std::int64_t until_ns = loop::monotonic_ns() + next_ns;
  if (next_ns == kLongNs) until_woken = true;
  if (!until_woken) return doorbell_.sleep_until(until_ns);
  doorbell_.sleep_until_woken(until_ns, [this] {
    return stopping_ ||
           std::any_of(duties_.begin(), duties_.end(), [](const Duty* duty) { return duty->is_news(); });
  });
}

}  // namespace python
