#include "plugin/blocking/signal_calls.h"
#include "plugin/blocking/groups.h"

#include <dlfcn.h>
#include <signal.h>

#include <atomic>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/libc.h"

namespace blocking {
namespace {

// The kernel gives every handler all three, whether it asked for them or not.
using Handler = void (*)(int, siginfo_t*, void*);

constexpr int kSignals = 65;  // From 1 on (signal(7)).
std::atomic<Handler> handlers[kSignals];
bool asked_for_info[kSignals];
std::atomic<unsigned int> runs{0};

void run_handler(int number, siginfo_t* info, void* context) noexcept {
  ++signal_handlers_running;
  runs.fetch_add(1, std::memory_order_relaxed);
  handlers[number].load(std::memory_order_relaxed)(number, info, context);
  --signal_handlers_running;
}

bool is_function(const struct sigaction& action) noexcept {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

int watching_sigaction(int number, const struct sigaction* action, struct sigaction* old) noexcept {
  if (number < 1 || number >= kSignals) return libc::sigaction(number, action, old);
  const Handler handler_before = handlers[number].load(std::memory_order_relaxed);
  const bool asked_before = asked_for_info[number];
  struct sigaction watched;
  if (action != nullptr && is_function(*action) && action->sa_sigaction != run_handler) {
    watched = *action;
    watched.sa_sigaction = run_handler;
    watched.sa_flags |= SA_SIGINFO;
    handlers[number].store(action->sa_sigaction, std::memory_order_relaxed);
    asked_for_info[number] = (action->sa_flags & SA_SIGINFO) != 0;
    action = &watched;
  }
  struct sigaction previous;
  const int result = libc::sigaction(number, action, &previous);
  if (result != 0) {
    handlers[number].store(handler_before, std::memory_order_relaxed);
    asked_for_info[number] = asked_before;
    return result;
  }
  if (old == nullptr) return 0;
  *old = previous;
  if (previous.sa_sigaction != run_handler) return 0;
  old->sa_sigaction = handler_before;
  if (!asked_before) old->sa_flags &= ~SA_SIGINFO;
  return 0;
}

}  // namespace

std::vector<Call> signal_calls() {
  return {{"sigaction", address_of(watching_sigaction), Scope::kLibpythonOnly}};
}

unsigned int signal_handlers_run() noexcept { return runs.load(std::memory_order_relaxed); }

void watch_handlers_set_before(const void* python_code) noexcept {
  Dl_info python, holder;
  if (python_code == nullptr || dladdr(python_code, &python) == 0) return;
  for (int number = 1; number < kSignals; ++number) {
    struct sigaction action;
    if (libc::sigaction(number, nullptr, &action) != 0 || !is_function(action)) continue;
    if (dladdr(reinterpret_cast<void*>(action.sa_sigaction), &holder) == 0 ||
        holder.dli_fbase != python.dli_fbase)
      continue;
    watching_sigaction(number, &action, nullptr);
  }
}

}  // namespace blocking
