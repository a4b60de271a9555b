#include "plugin/blocking/replacements.h"
#include "plugin/blocking/groups.h"

// tools/write-blocking reads both tables and the rows of the groups, {"name", ...} in the file that
// defines the group's function: keep the spelling.

namespace blocking {
namespace {

struct Group {
  std::string_view name;
  std::vector<Call> (*calls)();
  bool waits = false;
};

// In the order of docs/blocking.md.
constexpr Group kGroups[] = {
    {"waiting for descriptors", poll_calls, true},
    {"sockets", socket_calls, true},
    {"connections", connection_calls, true},
    {"pipes and terminals", stream_calls},
    {"from one descriptor to another", splice_calls, true},
    {"opening", open_calls},
    {"closing", closing_calls},
    {"sleeping", sleep_calls, true},
    {"locks of Python", lock_calls, true},
    {"locks of C libraries", mutex_calls},
    {"condition variables of C libraries", condition_calls},
    {"other waits of threads for each other", thread_calls},
    {"C11's threads", c11_calls},
    {"futexes", futex_calls},
    {"names", name_calls, true},
    {"answers of name servers", resolver_calls, true},
    {"children", process_calls, true},
    {"files", file_calls},
    {"queues and semaphores of the kernel", ipc_calls, true},
    {"waiting for signals", sigwait_calls, true},
    {"signal handlers", signal_calls},
    {"signal masks", signal_mask_calls},
    {"loading of libraries", loader_calls},
    {kIdentityGroup, identity_calls},
};

constexpr Scope kAll = Scope::kAnywhere;
constexpr Scope kPython = Scope::kLibpythonOnly;
constexpr Scope kOthers = Scope::kAnyLibrary;

constexpr Reason kGil{"the GIL uses it, and is handed over as usual", false};
constexpr Reason kLock{"it blocks the worker until it returns", true};
constexpr Reason kStdio{"libc itself reads and writes a FILE, unseen by the engine", false};
constexpr Reason kMask{"it sets the signal mask of the thread, not of the request", true};
constexpr Reason kSpin{"it is held only briefly, without a wait", false};
constexpr Reason kNotPythons{"CPython does not call it", false};
constexpr Reason kAnyCall{"it can make any system call", false};
constexpr Reason kRare{"no library in known use calls it", false};

}  // namespace

const std::vector<Replacement>& replacements() {
  static const std::vector<Replacement>* const all = [] {
    auto* table = new std::vector<Replacement>;
    for (const Group& group : kGroups) {
      for (const Call& call : group.calls()) {
        table->push_back({call.name, call.replacement, call.scope, group.name, group.waits});
      }
    }
    return table;
  }();
  return *all;
}

const std::vector<LeftAlone>& left_alone() {
  static const std::vector<LeftAlone> table = {
      {"pthread_mutex_lock", kPython, kGil},
      {"pthread_mutex_timedlock", kPython, kGil},
      {"pthread_cond_wait", kPython, kGil},
      {"pthread_cond_timedwait", kPython, kGil},
      {"pthread_cond_clockwait", kPython, kGil},
      {"pthread_mutex_clocklock", kPython, kGil},
      {"pthread_rwlock_rdlock", kPython, kNotPythons},
      {"pthread_rwlock_wrlock", kPython, kNotPythons},
      {"pthread_rwlock_timedrdlock", kPython, kNotPythons},
      {"pthread_rwlock_timedwrlock", kPython, kNotPythons},
      {"pthread_rwlock_clockrdlock", kPython, kNotPythons},
      {"pthread_rwlock_clockwrlock", kPython, kNotPythons},
      {"pthread_barrier_wait", kPython, kNotPythons},
      {"pthread_once", kPython, kNotPythons},
      {"mtx_lock", kPython, kNotPythons},
      {"mtx_timedlock", kPython, kNotPythons},
      {"cnd_wait", kPython, kNotPythons},
      {"cnd_timedwait", kPython, kNotPythons},
      {"call_once", kPython, kNotPythons},
      {"pthread_join", kPython, kNotPythons},
      {"pthread_timedjoin_np", kAll, kLock},
      {"pthread_clockjoin_np", kAll, kLock},
      {"thrd_join", kAll, kLock},
      {"thrd_sleep", kAll, kLock},
      {"pthread_spin_lock", kAll, kSpin},
      {"fread", kAll, kStdio},
      {"fgets", kAll, kStdio},
      {"fgetc", kAll, kStdio},
      {"getc", kAll, kStdio},
      {"getline", kAll, kStdio},
      {"getdelim", kAll, kStdio},
      {"flockfile", kAll, kStdio},
      {"sigsuspend", kAll, kMask},
      {"sigpause", kAll, kMask},
      {"aio_suspend", kAll, kRare},
      {"getmsg", kAll, kRare},
      {"getpmsg", kAll, kRare},
      {"putmsg", kAll, kRare},
      {"putpmsg", kAll, kRare},
      {"syscall", kPython, kAnyCall},
  };
  return table;
}

}  // namespace blocking
