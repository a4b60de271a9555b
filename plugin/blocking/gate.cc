#include "plugin/blocking/gate.h"

#include <cassert>
#include <cerrno>

#include "plugin/blocking/error_numbers.h"

namespace blocking {
namespace {

Gate* open_gate_ = nullptr;
loop::IoLoop* open_loop_ = nullptr;
thread_local bool on_loop_thread_ = false;

}  // namespace

void open_gate(Gate* gate, loop::IoLoop* loop) noexcept {
  assert((gate == nullptr) == (loop == nullptr));
  open_gate_ = gate;
  open_loop_ = loop;
  on_loop_thread_ = gate != nullptr;
}

bool on_loop_thread() noexcept { return on_loop_thread_; }

Gate* gate() noexcept { return open_gate_; }

loop::IoLoop& gate_loop() noexcept {
  assert(open_loop_ != nullptr);
  return *open_loop_;
}

namespace {

const Tally*& tally_list() noexcept {
  static const Tally* list = nullptr;
  return list;
}

// Less than this is work, not waiting.
constexpr long kBlockedNs = 1000000;

}  // namespace

Tally::Tally(const char* call_name) noexcept : name(call_name), next(tally_list()) { tally_list() = this; }

const Tally* Tally::first() noexcept { return tally_list(); }

const char* name_of(Refusal why) noexcept {
  switch (why) {
    case Refusal::kNone: return "none";
    case Refusal::kGilHeld: return "the GIL was held";
    case Refusal::kGuarded: return "suspension was forbidden";
    case Refusal::kForeignStack: return "a foreign greenlet ran";
  }
  return "unknown";
}

NativeCall::NativeCall(Tally& tally) noexcept : tally_(tally) {
  watched_ = on_loop_thread_ && suspend::Fiber::current() != nullptr && open_gate_ != nullptr;
  if (!watched_) return;
  why_ = open_gate_->why_not();
  watched_ = why_ != Refusal::kNone;
  if (watched_) clock_gettime(CLOCK_MONOTONIC, &started_);
}

void NativeCall::note() noexcept {
  const int saved_errno = errno;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long took_ns = (now.tv_sec - started_.tv_sec) * 1000000000L + (now.tv_nsec - started_.tv_nsec);
  if (took_ns >= kBlockedNs) ++tally_.blocked[static_cast<int>(why_)];
  errno = saved_errno;
}

void park(suspend::Fiber& fiber) noexcept {
  const ErrorNumbers saved = ErrorNumbers::of_this_thread();
  open_gate_->suspend(fiber);
  saved.set();
}

loop::Callback resumes(suspend::Fiber& fiber) noexcept {
  return {[](void* argument) noexcept { static_cast<suspend::Fiber*>(argument)->resume(); }, &fiber};
}

}  // namespace blocking
