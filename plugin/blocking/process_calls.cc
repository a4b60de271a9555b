
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>

#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"
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
    if (fd_ >= 0) libc::close(fd_);
  }
  ProcessDescriptor(const ProcessDescriptor&) = delete;
  ProcessDescriptor& operator=(const ProcessDescriptor&) = delete;

  int fd() const noexcept { return fd_; }
  // Code that closes every descriptor has closed it; the number may mean another file.
  void forget() noexcept { fd_ = -1; }
  // Forgets it if it was closed by a close() that is not redirected.
  void forget_if_lost(pid_t process) noexcept {
    if (const pid_t found = process_of(fd_); found != process && found != kReaped) forget();
  }

 private:
  static constexpr pid_t kReaped = -1;  // As the kernel says, also of the process that it was.

  // 0 where `fd` means no process.
  static pid_t process_of(int fd) noexcept {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    std::FILE* const info = std::fopen(path, "re");
    if (info == nullptr) return 0;
    int process = 0;
    char line[128];
    while (process == 0 && std::fgets(line, sizeof line, info) != nullptr)
      std::sscanf(line, "Pid: %d", &process);
    std::fclose(info);
    return process;
  }

  int fd_;
};

// How often a process is looked for though its descriptor is silent.
constexpr double kLooksAgainS = 0.5;

// One child's end is announced by a descriptor. Any child's, or a stop, is not: a helper
// thread waits for those.
pid_t suspending_wait4(pid_t process, int* status, int options, rusage* usage) noexcept {
  const auto wait = [&](int with) { return libc::wait4(process, status, with, usage); };
  Fiber* fiber = (options & WNOHANG) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(waitpid_tally, [&] { return wait(options); });
  const auto look = [&]() -> std::optional<pid_t> {
    const pid_t reaped = wait(options | WNOHANG);
    return reaped == 0 ? std::nullopt : std::make_optional(reaped);
  };
  if (const auto at_once = look()) return *at_once;
  const bool only_its_end = process > 0 && (options & (WUNTRACED | WCONTINUED)) == 0;
  ProcessDescriptor ended(only_its_end ? process : -1);
  while (ended.fd() >= 0) {
    ++waitpid_tally.suspended;
    const Woken woken = wait_for(*fiber, ended.fd(), POLLIN, Deadline::after(kLooksAgainS));
    if (woken == Woken::kClosed) ended.forget();
    if (woken == Woken::kTimedOut) ended.forget_if_lost(process);
    if (const auto reaped = look()) return *reaped;
    if (woken == Woken::kInterrupted) {
      errno = kInterruptedErrno;
      return -1;
    }
  }
  return offload_wait(
      *fiber, waitpid_tally, [&] { return wait(options); }, look);
}

pid_t suspending_waitpid(pid_t process, int* status, int options) noexcept {
  return suspending_wait4(process, status, options, nullptr);
}

pid_t suspending_wait(int* status) noexcept { return suspending_wait4(-1, status, 0, nullptr); }

pid_t suspending_wait3(int* status, int options, rusage* usage) noexcept {
  return suspending_wait4(-1, status, options, usage);
}

int suspending_waitid(idtype_t type, id_t id, siginfo_t* info, int options) noexcept {
  const auto wait = [&] { return libc::waitid(type, id, info, options); };
  Fiber* fiber = (options & WNOHANG) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(waitpid_tally, wait);
  return offload_wait(*fiber, waitpid_tally, wait, [&]() -> std::optional<int> {
    siginfo_t found{};
    const int result = libc::waitid(type, id, &found, options | WNOHANG);
    if (result == 0 && found.si_pid == 0) return std::nullopt;  // No child has news.
    if (result == 0 && info != nullptr) *info = found;
    return result;
  });
}

// The shell gets the caller's signal mask, so the helper has the same. As usual, libc lets no SIGINT and no
// SIGQUIT end the process meanwhile.
template <typename Native>
int wait_elsewhere(Fiber& fiber, Native call) noexcept {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  const auto call_with_mask = [&] {
    sigset_t helpers;
    pthread_sigmask(SIG_SETMASK, &mask, &helpers);
    const int status = call();
    pthread_sigmask(SIG_SETMASK, &helpers, nullptr);
    return status;
  };
  return offload(fiber, waitpid_tally, JobKind::kWait, call_with_mask, call);
}

int suspending_system(const char* command) noexcept {
  const auto call = [=] { return libc::system(command); };
  Fiber* const fiber = command == nullptr ? nullptr : may_suspend();
  return fiber == nullptr ? natively(waitpid_tally, call) : wait_elsewhere(*fiber, call);
}

int suspending_pclose(std::FILE* pipe) noexcept {
  const auto call = [=] { return libc::pclose(pipe); };
  Fiber* const fiber = may_suspend();
  return fiber == nullptr ? natively(waitpid_tally, call) : wait_elsewhere(*fiber, call);
}

}  // namespace

std::vector<Call> process_calls() {
  return {
      {"system", keeping_errno<suspending_system>()},   {"pclose", keeping_errno<suspending_pclose>()},
      {"waitpid", keeping_errno<suspending_waitpid>()}, {"wait", keeping_errno<suspending_wait>()},
      {"wait3", keeping_errno<suspending_wait3>()},     {"wait4", keeping_errno<suspending_wait4>()},
      {"waitid", keeping_errno<suspending_waitid>()},
  };
}

}  // namespace blocking
