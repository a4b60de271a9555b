#include "suspend/fiber.h"

#include <limits.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "suspend/context_on.h"
#include "suspend/exception_scope.h"

namespace context = boost::context;

namespace suspend {
namespace {

// libc refuses to make a thread on less: 16 KiB on x86-64, 128 KiB on aarch64.
std::size_t enough_for_a_thread(std::size_t stack_size) noexcept {
  return std::max(stack_size, static_cast<std::size_t>(PTHREAD_STACK_MIN));
}

}  // namespace

Fiber::Fiber(std::size_t stack_size, SwitchObserver& observer)
    : stack_(enough_for_a_thread(stack_size), kAnnexSize), thread_(stack_), observer_(observer) {
  other_side_ = context_on(stack_.bottom(), thread_.stack_top(), [this](context::fiber&& resumer) {
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
  const ExceptionScope exceptions;
  resumer_ = thread_.enter();
  switch_stacks();
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
    {
      const ExceptionScope exceptions;
      resumer_ = thread_.enter();
      switch_stacks();
    }
    running_ = false;
  } while (observer_.left());
}

void Fiber::suspend() noexcept {
  assert(current_ == this);
  switch_out();
  observer_.entered();
}

void Fiber::release_unused_stack() noexcept {
  assert(current_ == this);
  constexpr std::size_t kFramesOfTheRelease = 1u << 10;  // Of its own, what it calls, and the red zone.
  stack_.release_below(static_cast<char*>(__builtin_frame_address(0)) - kFramesOfTheRelease);
}

void Fiber::switch_out() noexcept {
  observer_.leaving();
  const ExceptionScope exceptions;
  thread_.leave(resumer_);
  switch_stacks();
}

// Where a fiber and its resumer change places. The thread that the other side is to C runs already:
// nothing here may look at what belongs to a thread. Boost does: newer ones (1.92) copy the C++ exceptions of
// the thread before, which is the other side's, to the thread afterwards. So each side sets its own aside.
[[gnu::noinline]] void Fiber::switch_stacks() noexcept {
  context::fiber other_side = std::move(other_side_).resume();
  other_side_ = std::move(other_side);
}

// The bottom frame of every fiber: one task after another, until the destructor.
void Fiber::run_tasks() noexcept {
  current_ = this;
  while (!stopping_) {
    observer_.entered();
    task_(argument_);
    task_ = nullptr;
    switch_out();
  }
  thread_.leave(resumer_);
}

}  // namespace suspend
