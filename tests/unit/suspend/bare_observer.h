// The observer of fibers that nothing belongs to.
#pragma once

#include "suspend/baton.h"

namespace suspend {

struct BareObserver : SwitchObserver {
  void entering() noexcept override {}
  void entered() noexcept override {}
  void leaving() noexcept override {}
  bool left() noexcept override { return false; }
  void park(Fiber& fiber) noexcept override { fiber.suspend(); }
  Interrupt& interrupt() noexcept override { return interrupt_of_task; }

  Interrupt interrupt_of_task;
};

}  // namespace suspend
