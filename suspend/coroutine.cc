#include "suspend/coroutine.h"

#include <cassert>
#include <utility>

#include "suspend/context_on.h"
#include "suspend/exception_scope.h"

namespace context = boost::context;

namespace suspend {

Coroutine::Coroutine(std::size_t stack_size) : stack_(std::make_unique<Stack>(stack_size)) {
  bounds_ = {stack_->bottom(), stack_->size()};
  continuation_ = context_on(stack_->bottom(), stack_->top(), [this](context::fiber&& came_from) {
    StackBounds bounds;
    sanitizer::SwitchSide first;
    first.arrive(&bounds);
    left_->bounds_ = bounds;
    arrived(std::move(came_from));
    ExceptionScope::start_clean();
    run_tasks();
    return std::move(left_->continuation_);
  });
  ++count_;
}

Coroutine::~Coroutine() {
  if (!stack_) return;
  assert(idle());
  // Let the entry function return: only so does Boost end a stack without unwinding it.
  stopping_ = true;
  Coroutine here;
  here.switch_to(*this);
  --count_;
}

void Coroutine::prepare(Task task, void* argument) noexcept {
  assert(stack_ && idle() && task != nullptr);
  task_ = task;
  argument_ = argument;
}

// On the stack just arrived at: what was left can now be gone back to.
void Coroutine::arrived(context::fiber came_from) noexcept { left_->continuation_ = std::move(came_from); }

// Where coroutines change places; the exceptions of each side are kept as a fiber's are.
[[gnu::noinline]] void Coroutine::switch_to(Coroutine& to) noexcept {
  assert(&to != this);
  ExceptionScope our_exceptions;
  sanitizer::SwitchSide side;
  to.left_ = this;
  side.leave(to.bounds_);
  context::fiber came_from = std::move(to.continuation_).resume();
  StackBounds bounds;
  side.arrive(&bounds);
  if (!came_from) return;  // From one that has ended for good.
  left_->bounds_ = bounds;
  arrived(std::move(came_from));
}

// The bottom frame of every coroutine's stack: one task after another, until the destructor.
void Coroutine::run_tasks() noexcept {
  while (!stopping_) {
    Coroutine& next = task_(argument_);
    task_ = nullptr;
    switch_to(next);
  }
  sanitizer::SwitchSide::leave_for_good(left_->bounds_);
}

}  // namespace suspend
