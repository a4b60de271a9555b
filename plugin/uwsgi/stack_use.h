// How deep requests use their stacks, and that a deep one does not keep its memory.
#pragma once

#include "suspend/fiber.h"

namespace engine {

// Before the fork: a metric worker.N.tornado.stack_peak for each worker, in bytes.
void register_stack_metrics() noexcept;

// Its task is over. Costs a few loads where the stack was not used deeply.
void rest(suspend::Fiber& fiber) noexcept;

}  // namespace engine
