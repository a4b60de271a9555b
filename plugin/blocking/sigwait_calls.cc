
#include <poll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/signal_calls.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally sigwait_tally("sigwait");
Tally pause_tally("pause");

// Polls as readable while a signal of the set waits for the process or for the thread that asks: the loop's,
// whose signals a fiber's are. It takes none.
class SignalDescriptor {
 public:
  explicit SignalDescriptor(const sigset_t& set) noexcept
      : fd_(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) {}
  ~SignalDescriptor() {
    if (fd_ >= 0) libc::close(fd_);
  }
  SignalDescriptor(const SignalDescriptor&) = delete;
  SignalDescriptor& operator=(const SignalDescriptor&) = delete;

  int fd() const noexcept { return fd_; }
  // Code that closes every descriptor has closed it; the number may mean another file.
  void forget() noexcept { fd_ = -1; }

 private:
  int fd_;
};

// The number of the signal that was taken; -1 with errno EAGAIN at the deadline.
int wait_for_signal(Fiber& fiber, const sigset_t& set, siginfo_t* info, Deadline deadline) noexcept {
  static constexpr timespec kNow{0, 0};
  const int at_once = libc::sigtimedwait(&set, info, &kNow);
  if (at_once > 0 || errno != EAGAIN || deadline.passed()) return at_once;
  SignalDescriptor pending(set);
  for (;;) {
    ++sigwait_tally.suspended;
    const Woken woken = pending.fd() >= 0 ? wait_for(fiber, pending.fd(), POLLIN, deadline)
                                          : sleep_until(fiber, deadline.sooner(Deadline::after(0.005)));
    if (woken == Woken::kClosed) pending.forget();
    if (woken == Woken::kInterrupted) {
      errno = kInterruptedErrno;
      return -1;
    }
    const int taken = libc::sigtimedwait(&set, info, &kNow);
    // Another may have taken it.
    if (taken > 0 || errno != EAGAIN || deadline.passed()) return taken;
  }
}

int suspending_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) noexcept {
  Fiber* const fiber = timeout == nullptr || loop::is_valid(*timeout) ? may_suspend() : nullptr;
  if (fiber == nullptr)
    return natively(sigwait_tally, [&] { return libc::sigtimedwait(set, info, timeout); });
  return wait_for_signal(*fiber, *set, info, Deadline::after_or_never(timeout));
}

int suspending_sigwaitinfo(const sigset_t* set, siginfo_t* info) noexcept {
  return suspending_sigtimedwait(set, info, nullptr);
}

// Says by its result what went wrong, and leaves errno alone.
int suspending_sigwait(const sigset_t* set, int* number) noexcept {
  Fiber* const fiber = may_suspend();
  if (fiber == nullptr) return natively(sigwait_tally, [&] { return libc::sigwait(set, number); });
  const int saved_errno = errno;
  const int taken = wait_for_signal(*fiber, *set, nullptr, Deadline::never());
  const int error = errno;
  errno = saved_errno;
  if (taken < 0) return error;
  *number = taken;
  return 0;
}

// Handlers run on the loop, in the middle of anything: they are counted, and the count is looked at.
constexpr double kFirstLookS = 0.001;
constexpr double kSlowestLookS = 0.02;

int suspending_pause() noexcept {
  Fiber* const fiber = may_suspend();
  if (fiber == nullptr) return natively(pause_tally, [] { return libc::pause(); });
  const unsigned int before = signal_handlers_run();
  Woken woken = Woken::kTimedOut;
  for (double look_s = kFirstLookS; woken != Woken::kInterrupted && signal_handlers_run() == before;
       look_s = std::min(2 * look_s, kSlowestLookS)) {
    ++pause_tally.suspended;
    woken = sleep_until(*fiber, Deadline::after(look_s));
  }
  errno = woken == Woken::kInterrupted ? kInterruptedErrno : EINTR;
  return -1;
}

}  // namespace

std::vector<Call> sigwait_calls() {
  return {
      {"sigwait", address_of(suspending_sigwait)},
      {"sigwaitinfo", keeping_errno<suspending_sigwaitinfo>()},
      {"sigtimedwait", keeping_errno<suspending_sigtimedwait>()},
      {"pause", keeping_errno<suspending_pause>()},
  };
}

}  // namespace blocking
