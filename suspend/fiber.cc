#include "suspend/fiber.h"

#include <cassert>
#include <memory>
#include <utility>

#include "suspend/exception_scope.h"
#include "suspend/sanitizer.h"

namespace context = boost::context;

namespace suspend {
namespace {

// Boost asks an allocator to free the stack as the fiber ends; ours is a member and frees itself.
struct BorrowedStack {
  context::stack_context allocate() { return {}; }
  void deallocate(context::stack_context&) noexcept {}
};

}  // namespace

Fiber::Fiber(std::size_t stack_size, SwitchObserver& observer)
    : stack_(stack_size), observer_(observer) {
  context::stack_context whole;
  whole.sp = stack_.top();
  whole.size = stack_.size();
  other_side_ = context::fiber(
      std::allocator_arg, context::preallocated(stack_.top(), stack_.size(), whole), BorrowedStack{},
      [this](context::fiber&& resumer) {
        other_side_ = std::move(resumer);
        run_tasks();
        return std::move(other_side_);
      });
  ++count_;
}

Fiber::~Fiber() {
  assert(idle());
  // Let the entry function return: only so does Boost end a fiber without unwinding it.
  stopping_ = true;
  switch_stacks(stack_.bottom(), stack_.size());
  --count_;
}

void Fiber::start(Task task, void* argument) noexcept {
  assert(task != nullptr);
  assert(idle());
  task_ = task;
  argument_ = argument;
  switch_in();
}

void Fiber::resume() noexcept {
  assert(!idle());
  switch_in();
}

void Fiber::switch_in() noexcept {
  assert(!running_);
  assert(current_ == nullptr);
  do {
    observer_.entering();
    running_ = true;
    current_ = this;
    switch_stacks(stack_.bottom(), stack_.size());
    current_ = nullptr;
    running_ = false;
  } while (observer_.left());
}

void Fiber::suspend() noexcept {
  assert(current_ == this);
  switch_stacks(resumer_bottom_, resumer_size_);
  observer_.entered();
}

// The one place stacks change. Each side sets its exceptions aside and finds
// them when control comes back: the C++ runtime keeps them per thread.
[[gnu::noinline]] void Fiber::switch_stacks(const void* bottom, std::size_t size) noexcept {
  ExceptionScope our_exceptions;
  sanitizer::SwitchSide side;
  side.leave(bottom, size);
  context::fiber came_from = std::move(other_side_).resume();
  const void* left_bottom = nullptr;
  std::size_t left_size = 0;
  side.arrive(&left_bottom, &left_size);
  if (left_bottom != stack_.bottom()) {
    resumer_bottom_ = left_bottom;
    resumer_size_ = left_size;
  }
  other_side_ = std::move(came_from);
}

// The bottom frame of every fiber: one task after another, until the destructor.
void Fiber::run_tasks() noexcept {
  sanitizer::SwitchSide first;
  first.arrive(&resumer_bottom_, &resumer_size_);
  ExceptionScope::start_clean();
  while (!stopping_) {
    task_(argument_);
    task_ = nullptr;
    switch_stacks(resumer_bottom_, resumer_size_);
  }
  sanitizer::SwitchSide::leave_for_good(resumer_bottom_, resumer_size_);
}

}  // namespace suspend
