// What the layers above do for a fiber.
#pragma once

namespace suspend {

class Fiber;
class Interrupt;

// Carries their own per-stack state across every switch of one fiber, and suspends it in its waits. On the
// loop's OS thread.
class SwitchObserver {
 public:
  // On the resumer's stack, just before the fiber gets the CPU.
  virtual void entering() noexcept = 0;
  // On the fiber's own stack, each time it has got the CPU: it is the thread that runs.
  virtual void entered() noexcept = 0;
  // On the fiber's own stack, just before it suspends or has finished.
  virtual void leaving() noexcept = 0;
  // On the resumer's stack, once the fiber has suspended or finished. True sends a suspended
  // fiber straight back: nobody else runs in between.
  virtual bool left() noexcept = 0;

  // For baton.h. Calls suspend() of `fiber`, the one that runs, where it may be called.
  virtual void park(Fiber& fiber) noexcept = 0;
  // Of the task that the fiber runs.
  virtual Interrupt& interrupt() noexcept = 0;

 protected:
  ~SwitchObserver() = default;
};

}  // namespace suspend
