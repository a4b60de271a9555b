#include "plugin/blocking/identity.h"
#include "plugin/blocking/groups.h"

#include <cerrno>
#include <csignal>
#include <mutex>
#include <unordered_map>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/libc.h"

namespace blocking {
namespace {

bool loop_thread_shown = false;

// The threads that fibers are, which the kernel does not know.
struct KnownThreads {
  std::mutex mutex;
  std::unordered_map<pthread_t, const suspend::ThreadBlock*> fibers;
  pthread_t loop_thread = 0;

  const suspend::ThreadBlock* find(pthread_t thread) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto known = fibers.find(thread);
    return known == fibers.end() ? nullptr : known->second;
  }
};

KnownThreads& known() noexcept {
  static KnownThreads* const forever = new KnownThreads;  // Other threads ask until the process ends.
  return *forever;
}

pthread_t shown_pthread_self() noexcept {
  return loop_thread_shown && suspend::Fiber::current() != nullptr ? known().loop_thread
                                                                   : libc::pthread_self();
}

// A call about a thread, by its pthread_t. What concerns the kernel's part of a fiber is said of the
// OS thread that it runs on: signal.pthread_kill() of a request's ident means that one. `Real` is libc's.
template <const auto& Real, typename... Arguments>
int about_thread(pthread_t thread, Arguments... arguments) noexcept {
  const suspend::ThreadBlock* const fiber = known().find(thread);
  if (fiber == nullptr) return Real(thread, arguments...);
  if (!on_loop_thread()) return Real(known().loop_thread, arguments...);
  // Here no fiber runs meanwhile, and what libc itself knows of the fiber is told, too: its stack.
  const suspend::ThreadBlock::OnKernelThread this_one(*fiber);
  return Real(thread, arguments...);
}

// A separate function, because a compiler assumes that errno stays in one place throughout a function.
template <const auto& Real, typename... Arguments>
[[gnu::noinline]] int as_os_thread_with(int& error, Arguments... arguments) noexcept {
  const suspend::AsOsThread caller;
  errno = error;
  const int result = Real(arguments...);
  error = errno;
  return result;
}

// A call by which libc changes the identity of the process: each thread changes itself, and libc finds the
// calling one by the OS thread's number. `Real` is libc's.
template <const auto& Real, typename... Arguments>
int as_os_thread(Arguments... arguments) noexcept {
  int error = errno;
  const int result = as_os_thread_with<Real, Arguments...>(error, arguments...);
  errno = error;
  return result;
}

}  // namespace

Identity::Identity(const suspend::Fiber& fiber) : thread_(fiber.thread().id()) {
  const std::lock_guard<std::mutex> lock(known().mutex);
  known().loop_thread = libc::pthread_self();
  known().fibers.emplace(thread_, &fiber.thread());
}

Identity::~Identity() {
  const std::lock_guard<std::mutex> lock(known().mutex);
  known().fibers.erase(thread_);
}

void show_loop_thread(bool shown) noexcept { loop_thread_shown = shown; }

std::vector<Call> identity_calls() {
  return {
      {"pthread_self", address_of(shown_pthread_self), Scope::kLibpythonOnly},
      {"pthread_kill", address_of(about_thread<libc::pthread_kill, int>), Scope::kAnywhere},
      {"pthread_sigqueue", address_of(about_thread<libc::pthread_sigqueue, int, sigval>), Scope::kAnywhere},
      {"pthread_getcpuclockid", address_of(about_thread<libc::pthread_getcpuclockid, clockid_t*>),
       Scope::kAnywhere},
      {"pthread_getattr_np", address_of(about_thread<libc::pthread_getattr_np, pthread_attr_t*>),
       Scope::kAnywhere},
      {"pthread_getaffinity_np",
       address_of(about_thread<libc::pthread_getaffinity_np, std::size_t, cpu_set_t*>), Scope::kAnywhere},
      {"pthread_setaffinity_np",
       address_of(about_thread<libc::pthread_setaffinity_np, std::size_t, const cpu_set_t*>),
       Scope::kAnywhere},
      {"pthread_getschedparam", address_of(about_thread<libc::pthread_getschedparam, int*, sched_param*>),
       Scope::kAnywhere},
      {"pthread_setschedparam",
       address_of(about_thread<libc::pthread_setschedparam, int, const sched_param*>), Scope::kAnywhere},
      {"pthread_setschedprio", address_of(about_thread<libc::pthread_setschedprio, int>), Scope::kAnywhere},
      {"setuid", address_of(as_os_thread<libc::setuid, uid_t>), Scope::kAnywhere},
      {"setgid", address_of(as_os_thread<libc::setgid, gid_t>), Scope::kAnywhere},
      {"seteuid", address_of(as_os_thread<libc::seteuid, uid_t>), Scope::kAnywhere},
      {"setegid", address_of(as_os_thread<libc::setegid, gid_t>), Scope::kAnywhere},
      {"setreuid", address_of(as_os_thread<libc::setreuid, uid_t, uid_t>), Scope::kAnywhere},
      {"setregid", address_of(as_os_thread<libc::setregid, gid_t, gid_t>), Scope::kAnywhere},
      {"setresuid", address_of(as_os_thread<libc::setresuid, uid_t, uid_t, uid_t>), Scope::kAnywhere},
      {"setresgid", address_of(as_os_thread<libc::setresgid, gid_t, gid_t, gid_t>), Scope::kAnywhere},
      {"setgroups", address_of(as_os_thread<libc::setgroups, std::size_t, const gid_t*>), Scope::kAnywhere},
      {"initgroups", address_of(as_os_thread<libc::initgroups, const char*, gid_t>), Scope::kAnywhere},
  };
}

}  // namespace blocking
