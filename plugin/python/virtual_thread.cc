#include "plugin/python/virtual_thread.h"

#include <cassert>

namespace python {

VirtualThread::VirtualThread(const Hub& hub, std::size_t stack_size)
    : hub_(hub), fiber_(stack_size, *this), state_(hub, fiber_) {}

void VirtualThread::entering() noexcept {
  assert(current_ == nullptr);
  current_ = this;
  state_.attach();
}

void VirtualThread::left() noexcept {
  hub_.attach(hub_.state());
  current_ = nullptr;
}

suspend::Fiber* GilGate::may_suspend() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  if (thread == nullptr || !thread->may_suspend() || thread->thread_state().attached()) return nullptr;
  return &thread->fiber();
}

// The switch wants the fiber's own state attached: left detached, PyGILState_Ensure in C code
// that runs after it would find the hub's and run Python on it.
void VirtualThread::suspend() noexcept {
  const bool gil_given_up = !state_.attached();
  if (gil_given_up) PyEval_RestoreThread(state_.get());
  fiber_.suspend();
  if (gil_given_up) PyEval_SaveThread();
}

void GilGate::suspend(suspend::Fiber& fiber) noexcept {
  VirtualThread* const thread = VirtualThread::current();
  assert(&thread->fiber() == &fiber);
  (void)fiber;
  thread->suspend();
}

}  // namespace python
