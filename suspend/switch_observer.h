// What the layers above do for a fiber.
#pragma once

namespace suspend {

class Fiber;
class Interrupt;

// Carries the per-stack state of the layers above across every switch of one fiber, and suspends the fiber
// when it waits. Called on the loop's OS thread.
class SwitchObserver {
 public:
  // On the resumer's stack, just before the fiber gets the CPU.
  virtual void entering() noexcept = 0;
  // On the fiber's own stack, each time it got the CPU. It is the running thread by then.
  virtual void entered() noexcept = 0;
  // On the fiber's own stack, just before it suspends, or once its task has finished.
  virtual void leaving() noexcept = 0;
  // On the resumer's stack, once the fiber has suspended or finished. Returning true sends a suspended fiber
  // straight back; no other code runs in between.
  virtual bool left() noexcept = 0;

  // For baton.h: calls suspend() of `fiber`, which runs, if that is allowed here.
  virtual void park(Fiber& fiber) noexcept = 0;
  // That of the task which the fiber runs.
  virtual Interrupt& interrupt() noexcept = 0;

 protected:
  ~SwitchObserver() = default;
};

}  // namespace suspend
