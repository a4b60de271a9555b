#include "plugin/uwsgi/stack_use.h"

#include <cstdint>

#include "plugin/uwsgi/metrics.h"

namespace engine {
namespace {

// One task in so many has its stack measured, which takes some microseconds. Stacks keep the
// traces of all tasks that ran on them, so none is missed for long.
constexpr unsigned kMeasuredEvery = 1024;

}  // namespace

void rest(suspend::Fiber& fiber) noexcept {
  static unsigned rested = 0;
  suspend::Stack& stack = fiber.idle_stack();
  const bool trimmed = stack.trim();
  const bool due = rested++ % kMeasuredEvery == 0;
  if (due) stack.measure();
  if (trimmed || due) show_metric(Metric::kStackPeak, static_cast<std::int64_t>(suspend::Stack::deepest()));
}

}  // namespace engine
