#include "plugin/blocking/process_calls.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "plugin/blocking/offload.h"
#include "plugin/blocking/real.h"
#include "plugin/blocking/wait.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally waitpid_tally("waitpid");

// A descriptor that is readable once the process has ended (pidfd_open(2)).
class ProcessDescriptor {
 public:
  explicit ProcessDescriptor(pid_t process) noexcept
      : fd_(static_cast<int>(syscall(SYS_pidfd_open, process, 0))) {}
  ~ProcessDescriptor() {
    if (fd_ >= 0) real::close(fd_);
  }
  ProcessDescriptor(const ProcessDescriptor&) = delete;
  ProcessDescriptor& operator=(const ProcessDescriptor&) = delete;

  int fd() const noexcept { return fd_; }

 private:
  const int fd_;
};

// One child's end is announced by a descriptor. Any child's, or a stop, is not: a helper
// thread waits for those.
pid_t suspending_wait4(pid_t process, int* status, int options, rusage* usage) noexcept {
  const auto wait = [&](int with) { return real::wait4(process, status, with, usage); };
  Fiber* fiber = (options & WNOHANG) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(waitpid_tally, [&] { return wait(options); });
  const pid_t at_once = wait(options | WNOHANG);
  if (at_once != 0) return at_once;
  const bool only_its_end = process > 0 && (options & (WUNTRACED | WCONTINUED)) == 0;
  const ProcessDescriptor ended(only_its_end ? process : -1);
  if (ended.fd() < 0) return offload(*fiber, waitpid_tally, [&] { return wait(options); });
  for (;;) {
    ++waitpid_tally.suspended;
    wait_for(*fiber, ended.fd(), POLLIN, Deadline::never());
    const pid_t reaped = wait(options | WNOHANG);
    if (reaped != 0) return reaped;
  }
}

pid_t suspending_waitpid(pid_t process, int* status, int options) noexcept {
  return suspending_wait4(process, status, options, nullptr);
}

pid_t suspending_wait(int* status) noexcept { return suspending_wait4(-1, status, 0, nullptr); }

pid_t suspending_wait3(int* status, int options, rusage* usage) noexcept {
  return suspending_wait4(-1, status, options, usage);
}

int suspending_waitid(idtype_t type, id_t id, siginfo_t* info, int options) noexcept {
  const auto wait = [&] { return real::waitid(type, id, info, options); };
  Fiber* fiber = (options & WNOHANG) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(waitpid_tally, wait);
  return offload(*fiber, waitpid_tally, wait);
}

}  // namespace

std::vector<Call> process_calls() {
  return {
      {"waitpid", address_of(suspending_waitpid)}, {"wait", address_of(suspending_wait)},
      {"wait3", address_of(suspending_wait3)},     {"wait4", address_of(suspending_wait4)},
      {"waitid", address_of(suspending_waitid)},
  };
}

}  // namespace blocking
