#include "plugin/blocking/gate.h"

#include <cassert>
#include <cerrno>

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

void park(suspend::Fiber& fiber) noexcept {
  const int saved_errno = errno;
  open_gate_->suspend(fiber);
  errno = saved_errno;
}

loop::Callback resumes(suspend::Fiber& fiber) noexcept {
  return {[](void* argument) noexcept { static_cast<suspend::Fiber*>(argument)->resume(); }, &fiber};
}

}  // namespace blocking
