#include "plugin/python/gil_gate.h"
#include "plugin/blocking/tally.h"

#include "plugin/python/gil.h"
#include "plugin/python/preemption.h"
#include "plugin/python/virtual_thread.h"

namespace python {

suspend::Fiber* GilGate::may_suspend() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  if (thread == nullptr || thread->thread_state().attached() || !thread->may_suspend()) return nullptr;
  return &thread->fiber();
}

suspend::Fiber* GilGate::can_suspend() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  return thread == nullptr || !thread->may_suspend() ? nullptr : &thread->fiber();
}

blocking::Refusal GilGate::why_not() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  if (thread == nullptr) return blocking::Refusal::kNone;
  if (thread->thread_state().attached()) return blocking::Refusal::kGilHeld;
  if (thread->task().suspension_is_forbidden()) return blocking::Refusal::kGuarded;
  return blocking::Refusal::kNone;
}

void GilGate::lock_wait_interrupted(suspend::Fiber&) noexcept { interrupt_lock_wait(); }

// The loop's own Python code may need a lock that a suspended request holds: the request must
// run on. Asleep in the poll the state is detached too, but then nothing of Python's runs here.
bool GilGate::may_turn() noexcept { return can_turn() && !holds_gil(hub_.state()); }

bool GilGate::can_turn() noexcept {
  return blocking::on_loop_thread() && suspend::Fiber::current() == nullptr;
}

void GilGate::turn() noexcept {
  const bool gil_given_up = !holds_gil(hub_.state());
  if (gil_given_up) PyEval_RestoreThread(hub_.state());
  {
    const InOwnInterpreter here(hub_.state());
    loop_.turn();
  }
  if (gil_given_up) PyEval_SaveThread();
}

}  // namespace python
