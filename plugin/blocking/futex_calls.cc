
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>

#include "plugin/blocking/address_waiters.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/tally.h"
#include "plugin/loop/clock.h"

namespace blocking {
namespace {

Tally futex_tally("syscall(SYS_futex)");

struct FutexCall {
  std::uint32_t* word;
  int operation;
  std::uint32_t value;
  const timespec* timeout;  // Or, for some operations, a number.
  std::uint32_t* second;
  std::uint32_t third;

  int command() const noexcept { return operation & FUTEX_CMD_MASK; }
  long natively() const noexcept {
    return libc::syscall(SYS_futex, word, operation, value, timeout, second, third);
  }
};

// Of a relative timeout (FUTEX_WAIT) or an absolute one (FUTEX_WAIT_BITSET); none where the call fails.
std::optional<Deadline> deadline_of(const FutexCall& call) noexcept {
  if (call.timeout == nullptr) return Deadline::never();
  if (call.command() == FUTEX_WAIT_BITSET) {
    return blocking::deadline_of(
        (call.operation & FUTEX_CLOCK_REALTIME) != 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC, call.timeout);
  }
  return loop::is_valid(*call.timeout) ? std::make_optional(Deadline::after(*call.timeout)) : std::nullopt;
}

bool is_changed(const FutexCall& call) noexcept {
  return __atomic_load_n(call.word, __ATOMIC_SEQ_CST) != call.value;
}

long fail(int error) noexcept {
  errno = error;
  return -1;
}

// A wait may end for no reason (futex(2)). A fiber's wait ends now and then, because its waker may use a
// system call instruction of its own, which is not seen.
long wait_as(const LockWaiter& who, const FutexCall& call, Deadline deadline, bool& told) noexcept {
  switch (wait_for_change(who, call.word, deadline, futex_tally, told, [&] { return !is_changed(call); })) {
    case Woken::kNotYet: return fail(EAGAIN);
    case Woken::kTimedOut: return fail(ETIMEDOUT);
    default: return 0;
  }
}

// Stops the OS thread for a while. Returns false if nothing came.
bool wait_natively(const FutexCall& call, long& result) noexcept {
  const timespec slice = loop::to_timespec(loop::monotonic_ns() + kNativelyNs);
  FutexCall sliced = call;
  sliced.operation = (call.operation & ~(FUTEX_CMD_MASK | FUTEX_CLOCK_REALTIME)) | FUTEX_WAIT_BITSET;
  sliced.timeout = &slice;
  if (call.command() == FUTEX_WAIT) sliced.third = FUTEX_BITSET_MATCH_ANY;
  result = natively(futex_tally, [&] { return sliced.natively(); });
  return result == 0 || errno != ETIMEDOUT;
}

long wait(const FutexCall& call) noexcept {
  const auto deadline = deadline_of(call);
  if (!on_loop_thread() || !deadline) return call.natively();
  bool told = false;
  if (const LockWaiter who = LockWaiter::where_allowed()) return wait_as(who, call, *deadline, told);
  const LockWaiter later = LockWaiter::where_possible();
  const bool ends_soon =
      !deadline->is_never() && deadline->left_s() <= static_cast<double>(kNativelyNs) * 1e-9;
  if (!later || (ends_soon && !WaitGoesOn::at(call.word))) {
    return natively(futex_tally, [&] { return call.natively(); });
  }
  long result = 0;
  if (!WaitGoesOn::at(call.word) && wait_natively(call, result)) return result;
  result = wait_as(later, call, *deadline, told);
  WaitGoesOn::ended(call.word, told);
  return result;
}

// Threads in the kernel first, then fibers, up to the number that is asked for.
long wake(const FutexCall& call) noexcept {
  const long woken = call.natively();
  if (woken < 0) return woken;
  const int wanted = static_cast<int>(std::min<std::uint32_t>(call.value, INT_MAX));
  const int left = wanted - static_cast<int>(std::min<long>(woken, wanted));
  return left == 0 ? woken : woken + AddressWaiters::all().changed(call.word, left);
}

// Those that wait for either word look again.
long wake_two(const FutexCall& call) noexcept {
  const long result = call.natively();
  const int error = errno;
  AddressWaiters::all().changed(call.word, INT_MAX);
  if (call.second != nullptr) AddressWaiters::all().changed(call.second, INT_MAX);
  errno = error;
  return result;
}

long futex(const FutexCall& call) noexcept {
  switch (call.command()) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: return wait(call);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: return wake(call);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP: return wake_two(call);
    default: return call.natively();
  }
}

// Declared to take any number of arguments; the kernel takes six, and a caller has set as many registers as
// it needs.
long suspending_syscall(long number, long a, long b, long c, long d, long e, long f) noexcept {
  if (number != SYS_futex || gate() == nullptr) return libc::syscall(number, a, b, c, d, e, f);
  return futex({reinterpret_cast<std::uint32_t*>(a), static_cast<int>(b), static_cast<std::uint32_t>(c),
                reinterpret_cast<const timespec*>(d), reinterpret_cast<std::uint32_t*>(e),
                static_cast<std::uint32_t>(f)});
}

}  // namespace

std::vector<Call> futex_calls() { return {{"syscall", address_of(suspending_syscall), Scope::kAnyLibrary}}; }

}  // namespace blocking
