#include "plugin/blocking/signal_mask.h"

#include <signal.h>

#include <cstdint>
#include <cstring>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"

namespace blocking {
namespace {

// The kernel's signals, 1 to 64.
using Signals = std::uint64_t;

// Never blocked: SIGKILL and SIGSTOP by the kernel, libc's own two by libc.
constexpr Signals bit(int number) noexcept { return Signals{1} << (number - 1); }
constexpr Signals kNever = bit(SIGKILL) | bit(SIGSTOP) | bit(32) | bit(33);

Signals signals_in(const sigset_t& set) noexcept {
  Signals signals;
  std::memcpy(&signals, &set, sizeof signals);
  return signals & ~kNever;
}

sigset_t set_of(Signals signals) noexcept {
  sigset_t set;
  sigemptyset(&set);
  std::memcpy(&set, &signals, sizeof signals);
  return set;
}

sigset_t loops_mask;

thread_local bool mask_is_own = false;  // A fiber's own variable.

Signals after(int how, Signals before, Signals change) noexcept {
  if (how == SIG_BLOCK) return before | change;
  return how == SIG_UNBLOCK ? before & ~change : change;
}

template <auto& Real>
int watching(int how, const sigset_t* set, sigset_t* old) noexcept {
  if (set == nullptr || !on_loop_thread() || suspend::Fiber::current() == nullptr) return Real(how, set, old);
  const Signals change = signals_in(*set);  // `old` may be the same.
  sigset_t before;
  const int result = Real(how, set, &before);
  if (result != 0) return result;
  mask_is_own = after(how, signals_in(before), change) != signals_in(loops_mask);
  if (old != nullptr) *old = before;
  return 0;
}

}  // namespace

std::vector<Call> signal_mask_calls() {
  return {
      {"pthread_sigmask", address_of(watching<libc::pthread_sigmask>), Scope::kAnywhere},
      {"sigprocmask", address_of(watching<libc::sigprocmask>), Scope::kAnywhere},
  };
}

void note_loops_signal_mask() noexcept { libc::pthread_sigmask(SIG_SETMASK, nullptr, &loops_mask); }

void SignalMaskAside::put_aside(bool look) noexcept {
  if (!look && !mask_is_own) return;
  sigset_t mask;
  libc::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  mask_ = signals_in(mask);
  aside_ = mask_ != signals_in(loops_mask);
  if (aside_) libc::pthread_sigmask(SIG_SETMASK, &loops_mask, nullptr);
}

void SignalMaskAside::bring_back() noexcept {
  if (!aside_) return;
  aside_ = false;
  const sigset_t mask = set_of(mask_);
  libc::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

}  // namespace blocking
