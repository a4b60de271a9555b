// Calls whose end no descriptor announces run on helper threads while their request is suspended.
#pragma once

#include <cerrno>

#include "plugin/blocking/error_numbers.h"
#include "plugin/blocking/fd_retry.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"
#include "suspend/baton.h"

namespace blocking {

// What the end of a job depends on.
enum class JobKind {
  kWork,  // On itself: a look-up, a write to the disk. Only a limited number runs at once.
  kWait,  // On another request or process, so it must never wait for a free helper.
};

// Work for a helper thread. Lives on the suspended fiber's stack.
struct Job {
  void (*run)(void* argument) noexcept;
  void* argument;
  suspend::Baton* baton;
  JobKind kind;
};

// Hands `job` to a helper thread; its baton is posted once it has run. Returns false if no thread is
// available.
bool start_job(Job& job) noexcept;

// Runs call() on a helper thread while `fiber` is suspended, or otherwise() if no thread is
// available. Returns the result, with the call's errno and h_errno. The call must not use
// Python.
template <typename Native, typename Otherwise>
auto offload(suspend::Fiber& fiber, Tally& tally, JobKind kind, Native call, Otherwise otherwise) noexcept {
  struct Errand {
    Native& call;
    decltype(call()) result;
    ErrorNumbers errors;  // A call may leave them unchanged.
  } errand{call, {}, ErrorNumbers::of_this_thread()};
  suspend::Baton baton(fiber, tally.name, Abort::kNever);
  Job job{[](void* argument) noexcept {
            auto* mine = static_cast<Errand*>(argument);
            mine->errors.set();
            mine->result = mine->call();
            mine->errors = ErrorNumbers::of_this_thread();
          },
          &errand, &baton, kind};
  if (!start_job(job)) return otherwise();
  ++tally.suspended;
  baton.wait();
  errand.errors.set();
  return errand.result;
}

// A call that ends by itself.
template <typename Native>
auto offload_work(suspend::Fiber& fiber, Tally& tally, Native call) noexcept {
  return offload(fiber, tally, JobKind::kWork, call, call);
}

// Calls look() until it has a result; other fibers run meanwhile.
template <typename Look>
auto wait_looking(suspend::Fiber& fiber, Tally& tally, Look look) noexcept {
  for (;;) {
    if (const auto done = look()) return *done;
    ++tally.suspended;
    suspend::Baton baton(fiber, tally.name, Abort::kNever);  // As with a helper.
    wait(baton, Deadline::after(kMomentS));
  }
}

// A call that waits for another request or process. look() makes the call without waiting, and has no result
// if it would wait. A helper waits, so the kernel serves it in order. Only if no thread is available is
// look() called again and again.
template <typename Native, typename Look>
auto offload_wait(suspend::Fiber& fiber, Tally& tally, Native call, Look look) noexcept {
  const ErrorNumbers before = ErrorNumbers::of_this_thread();
  if (const auto at_once = look()) return *at_once;
  before.set();
  return offload(fiber, tally, JobKind::kWait, call, [&] { return wait_looking(fiber, tally, look); });
}

}  // namespace blocking
