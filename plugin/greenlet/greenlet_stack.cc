#include "plugin/greenlet/greenlet_stack.h"

#include <utility>
#include <vector>

#include "plugin/python/state_fields.h"
#include "plugin/python/thread_state.h"
#include "suspend/fiber.h"

namespace python {
namespace {

// More than this many at once is a peak, whose memory is given back to the system.
constexpr std::size_t kIdleMax = 1024;

std::vector<GreenletStack*>& idle() noexcept {
  static auto* const forever = new std::vector<GreenletStack*>;  // Python's end comes after exit().
  return *forever;
}

}  // namespace

GreenletStack::GreenletStack()
    : coroutine_(size_),
      state_(new_further_state(*coroutine_.stack())),
      os_thread_(suspend::Fiber::os_thread()) {}

GreenletStack::~GreenletStack() {
  PyThreadState_Clear(state_);
  PyThreadState_Delete(state_);
}

GreenletStack* GreenletStack::take() {
  // Of another OS thread: code that ran on a stack may keep addresses of that thread's data.
  if (idle().empty() || idle().back()->os_thread_ != suspend::Fiber::os_thread()) return new GreenletStack();
  GreenletStack* const stack = idle().back();
  idle().pop_back();
  return stack;
}

void GreenletStack::give_back(GreenletStack* stack) noexcept {
  stack->coroutine_.idle_stack().trim();
  const bool of_the_kept = idle().empty() || idle().back()->os_thread_ == stack->os_thread_;
  if (of_the_kept && idle().size() < kIdleMax) idle().push_back(stack);
  else delete stack;
}

void GreenletStack::end_idle() noexcept {
  for (GreenletStack* stack : std::exchange(idle(), {})) delete stack;
}

void GreenletStack::forget_in_child() noexcept {
  ++generation_;
  idle().clear();
  suspend::Coroutine::forget_in_child();
}

}  // namespace python
