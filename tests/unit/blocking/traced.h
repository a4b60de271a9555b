// What a piece of code costs in system calls and in instructions, counted by tracing a child that runs it.
#pragma once

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <map>
#include <string>

namespace unit {

// The child makes this call, which nothing else does, where counting begins and where it ends.
inline void mark_for_tracer() noexcept { syscall(SYS_getsid, 0); }

class Traced {
 public:
  // Runs `work`, which calls mark_for_tracer() twice, in a child of its own.
  explicit Traced(std::function<void()> work) : work_(std::move(work)) {}

  // The names of the system calls in between, in order; without those that read a clock, which a kernel with
  // a vDSO does not see.
  std::string system_calls() {
    std::string names;
    start();
    for (bool enters = true; next(PTRACE_SYSCALL); enters = !enters) {
      const long number = system_call();
      if (!enters) continue;
      if (number == SYS_getsid) ++marks_;
      else if (marks_ == 1 && number != SYS_clock_gettime)
        names += (names.empty() ? "" : " ") + name_of(number);
    }
    return names;
  }

  // The instructions in between, those of the two marks included; a system call counts as one.
  long instructions() {
    long steps = 0;
    start();
    for (bool enters = true; marks_ == 0 && next(PTRACE_SYSCALL); enters = !enters) {
      if (enters && system_call() == SYS_getsid) ++marks_;
    }
    // The second mark is found by its number, which stays in its register after the call.
    while (marks_ == 1 && next(PTRACE_SINGLESTEP)) {
      ++steps;
      if (at_system_call() && system_call_to_be() == SYS_getsid) ++marks_;
    }
    while (next(PTRACE_CONT)) {
    }
    return steps;
  }

 private:
  void start() {
    marks_ = 0;
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      raise(SIGSTOP);
      alarm(60);  // One that hangs ends, and its test fails.
      const bool failed_before = ::testing::Test::HasFailure();
      work_();
      _exit(::testing::Test::HasFailure() && !failed_before ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(child_, waitpid(child_, &status, 0));
    ASSERT_TRUE(WIFSTOPPED(status)) << "no child can be traced here";
  }

  // Lets the child run to its next stop. False at its end.
  template <typename Request>
  bool next(Request how) {
    int status = 0;
    if (::testing::Test::HasFatalFailure()) return false;
    ptrace(how, child_, nullptr, nullptr);
    EXPECT_EQ(child_, waitpid(child_, &status, 0));
    if (WIFSTOPPED(status)) return true;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the traced child failed: " << status;
    return false;
  }

  user_regs_struct registers() {
    user_regs_struct all{};
    ptrace(PTRACE_GETREGS, child_, nullptr, &all);
    return all;
  }
  long system_call() { return static_cast<long>(registers().orig_rax); }
  bool at_system_call() {
    constexpr long kSyscallInstruction = 0x050f;
    const long code = ptrace(PTRACE_PEEKTEXT, child_, reinterpret_cast<void*>(registers().rip), nullptr);
    return (code & 0xffff) == kSyscallInstruction;
  }
  long system_call_to_be() { return static_cast<long>(registers().rax); }

  // One name for what different versions of libc make of the same function.
  static std::string name_of(long number) {
    static const std::map<long, const char*> kNames = {
        {SYS_poll, "poll"},
        {SYS_ppoll, "poll"},
        {SYS_fcntl, "fcntl"},
        {SYS_lseek, "lseek"},
        {SYS_readv, "readv"},
        {SYS_fstat, "fstat"},
        {SYS_newfstatat, "fstat"},
        {SYS_epoll_ctl, "epoll_ctl"},
        {SYS_epoll_wait, "epoll_wait"},
        {SYS_epoll_pwait, "epoll_wait"},
        {SYS_recvfrom, "recv"},
        {SYS_sendto, "send"},
        {SYS_connect, "connect"},
        {SYS_getsockopt, "getsockopt"},
        {SYS_ioctl, "ioctl"},
        {SYS_futex, "futex"},
        {SYS_write, "write"},
        {SYS_read, "read"},
    };
    const auto found = kNames.find(number);
    return found == kNames.end() ? std::to_string(number) : found->second;
  }

  std::function<void()> work_;
  pid_t child_ = -1;
  int marks_ = 0;
};

}  // namespace unit
