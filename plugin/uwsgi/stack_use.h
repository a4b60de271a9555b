// How deep requests use their stacks, and that a deep one does not keep its memory.
#pragma once

#include "suspend/fiber.h"

namespace engine {

// Its task is over. Costs a few loads where the stack was not used deeply. The deepest use of any is
// a metric, in bytes.
void rest(suspend::Fiber& fiber) noexcept;

}  // namespace engine
