#include "plugin/observe/overrun.h"

#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "plugin/observe/signal_log.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/uwsgi_core.h"
#include "suspend/stack.h"

namespace engine {
namespace {

// What runs in the handler calls what POSIX allows there, and no allocation, lock or stdio: the
// fault may have come in the middle of any of them.

// The previous handler of the signal.
struct sigaction previous;

// Room for a handler where the thread's own stack has none left.
alignas(16) char signal_stack[64 << 10];

void report(const suspend::Stack& stack) noexcept {
  RequestThread* const thread = RequestThread::current();
  SignalLine line;
  line << "tornado: ";
  if (thread == nullptr || &thread->fiber().stack() != &stack) line << "a greenlet of ";
  if (thread == nullptr) line << "no request";
  else name_request(line, *thread);
  constexpr std::size_t kPage = 4096;  // The one that the stack begins in has other things in it.
  line << " overran its stack of " << (stack.size() / kPage * kPage >> 10) << " KiB, so worker "
       << static_cast<std::uint64_t>(uwsgi.mywid) << " (pid: " << static_cast<std::uint64_t>(getpid())
       << ") dies: raise --tornado-stack-size, unless the recursion is endless\n";
  line.write();
  dump_python_stack();
}

// Sent with kill() or raise(), not raised by an instruction, which runs again as a handler returns.
bool was_sent(const siginfo_t& info) noexcept { return info.si_code <= 0; }

std::uintptr_t stack_pointer(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
#else
  return context.uc_mcontext.sp;
#endif
}

// A handler that was installed after ours (faulthandler's) passes a fault on by raise(), and its
// address is lost: but raise() is called on the alternate stack then.
bool was_passed_on(const siginfo_t& info, const ucontext_t& context) noexcept {
  const auto bottom = reinterpret_cast<std::uintptr_t>(context.uc_stack.ss_sp);
  const std::uintptr_t at = stack_pointer(context);
  return info.si_code == SI_TKILL && info.si_pid == getpid() && at >= bottom &&
         at < bottom + context.uc_stack.ss_size;
}

const suspend::Stack* overrun_stack(const siginfo_t& info, const ucontext_t& context) noexcept {
  if (!was_sent(info)) return suspend::Stack::guarding(info.si_addr);
  return was_passed_on(info, context) ? suspend::Stack::used_up() : nullptr;
}

void on_fault(int signal_number, siginfo_t* info, void* context) noexcept {
  const int error = errno;
  struct sigaction next = previous;
  if (const suspend::Stack* stack = overrun_stack(*info, *static_cast<const ucontext_t*>(context))) {
    report(*stack);
    // uWSGI's handler allocates, which may never return here.
    next = {};
    next.sa_handler = SIG_DFL;
  }
  // The instruction faults again under that one, on its own stack, as if there were no other.
  sigaction(signal_number, &next, nullptr);
  if (was_sent(*info)) raise(signal_number);
  errno = error;
}

}  // namespace

void report_overruns() noexcept {
  find_python_dump();
  stack_t alternate{};
  alternate.ss_sp = signal_stack;
  alternate.ss_size = sizeof signal_stack;
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (sigaltstack(&alternate, nullptr) != 0 || sigaction(SIGSEGV, &action, &previous) != 0) {
    uwsgi_error("tornado: no handler for overrun stacks: sigaltstack()/sigaction()");
  }
}

}  // namespace engine
