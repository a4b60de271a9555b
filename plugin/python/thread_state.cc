#include "plugin/python/thread_state.h"

#include <cassert>
#include <new>

#include "plugin/python/gil.h"
#include "plugin/python/python_compat.h"
#include "plugin/python/state_fields.h"

namespace python {
namespace {

PyThreadState* new_state(const Hub& hub, const suspend::Fiber& fiber) {
  // CPython notes for good which thread made a state.
  const suspend::AsFiber thread(fiber);
  PyThreadState* state = PyThreadState_New(PyThreadState_GetInterpreter(hub.state()));
  if (state == nullptr) throw std::bad_alloc();
  bound_recursion(state, fiber.stack());
  return state;
}

}  // namespace

ThreadState::ThreadState(const Hub& hub, suspend::Fiber& fiber)
    : hub_(hub), fiber_(fiber), identity_(fiber), state_(new_state(hub, fiber)), running_(state_) {}

ThreadState::~ThreadState() {
  assert(current_state() == hub_.state());
  PyThreadState_Clear(state_);
  const suspend::AsFiber thread(fiber_);  // Whose note of its state is taken out with it.
  PyThreadState_Delete(state_);
}

bool ThreadState::attached() const noexcept { return holds_gil(running_); }

}  // namespace python
