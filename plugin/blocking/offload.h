// Calls that no descriptor announces run on helper threads while their request is suspended.
#pragma once

#include <cerrno>

#include "plugin/blocking/gate.h"
#include "suspend/fiber.h"

namespace blocking {

// Work for a helper thread. Lives on the suspended fiber's stack.
struct Job {
  void (*run)(void* argument) noexcept;
  void* argument;
  suspend::Fiber* fiber;
};

// Hands `job` to a helper thread; its fiber is resumed from the loop once it has run.
// Returns false when there is neither an idle helper nor room for another: run it natively.
bool start_job(Job& job) noexcept;

// Runs call() on a helper thread and suspends `fiber` meanwhile. Returns what it returns;
// errno is the call's. The call must not touch Python.
template <typename Native>
auto offload(suspend::Fiber& fiber, Tally& tally, Native call) noexcept {
  struct Errand {
    Native& call;
    decltype(call()) result;
    int error;
  } errand{call, {}, 0};
  Job job{[](void* argument) noexcept {
            auto* mine = static_cast<Errand*>(argument);
            mine->result = mine->call();
            mine->error = errno;
          },
          &errand, &fiber};
  if (!start_job(job)) return call();
  ++tally.suspended;
  park(fiber);
  errno = errand.error;
  return errand.result;
}

}  // namespace blocking
