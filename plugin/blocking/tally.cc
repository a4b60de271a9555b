#include "plugin/blocking/tally.h"

#include <cerrno>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/kept_back.h"
#include "plugin/loop/clock.h"

namespace blocking {
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
  }
  return "unknown";
}

NativeCall::NativeCall(Tally& tally) noexcept : tally_(tally) {
  release_kept_back();
  watched_ = on_loop_thread() && suspend::Fiber::current() != nullptr && gate() != nullptr;
  if (!watched_) return;
  why_ = gate()->why_not();
  watched_ = why_ != Refusal::kNone;
  if (watched_) started_ns_ = loop::monotonic_ns();
}

void NativeCall::note() noexcept {
  const int saved_errno = errno;
  if (loop::monotonic_ns() - started_ns_ >= kBlockedNs) ++tally_.blocked[static_cast<int>(why_)];
  errno = saved_errno;
}

}  // namespace blocking
