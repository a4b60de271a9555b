// Where CPython lets a blocking call suspend.
#pragma once

#include "plugin/blocking/gate.h"
#include "plugin/blocking/tally.h"
#include "plugin/loop/io_loop.h"
#include "plugin/python/thread_state.h"

namespace python {

// Lets a blocking call suspend where CPython would let another thread run: in a virtual
// thread, with the GIL released, and no guard held.
class GilGate : public blocking::Gate {
 public:
  // `hub` is the loop's own thread state, `loop` the loop it turns; both outlive the gate.
  GilGate(const Hub& hub, loop::IoLoop& loop) noexcept : hub_(hub), loop_(loop) {}

  suspend::Fiber* may_suspend() noexcept override;
  suspend::Fiber* can_suspend() noexcept override;
  blocking::Refusal why_not() noexcept override;
  void lock_wait_interrupted(suspend::Fiber& fiber) noexcept override;
  bool may_turn() noexcept override;
  bool can_turn() noexcept override;
  void turn() noexcept override;

 private:
  const Hub& hub_;
  loop::IoLoop& loop_;
};

}  // namespace python
