// Coroutines: further stacks of one fiber, which switch to each other directly.
#pragma once

#include <boost/context/fiber.hpp>

#include <cassert>
#include <cstddef>
#include <memory>

#include "suspend/sanitizer.h"
#include "suspend/stack.h"

namespace suspend {

// To the loop, all coroutines of a fiber are that fiber: whichever one runs when the fiber suspends is
// resumed with it. The same holds on the loop's own stack and on any OS thread. A coroutine belongs to the OS
// thread that it first ran on. Its task must finish, as that of a fiber.
class Coroutine {
 public:
  // Returns where to go when it finishes: a coroutine of the same fiber.
  using Task = Coroutine& (*)(void* argument) noexcept;

  // Represents the stack that runs already: that of a fiber, of the loop, or of an OS thread.
  Coroutine() noexcept = default;
  // Has its own stack, idle. Throws std::bad_alloc.
  explicit Coroutine(std::size_t stack_size);
  // REQUIRES: idle, if it has its own stack; called on the OS thread that it ran on.
  ~Coroutine();
  Coroutine(const Coroutine&) = delete;
  Coroutine& operator=(const Coroutine&) = delete;

  // The next switch to it runs task(argument) from the start. REQUIRES: idle, own stack.
  void prepare(Task task, void* argument) noexcept;

  // Switches from this coroutine to `to`, and returns when somebody switches back. REQUIRES: this one runs;
  // `to` is another one of the same fiber, which was prepared or has switched away.
  void switch_to(Coroutine& to) noexcept;

  bool idle() const noexcept { return task_ == nullptr; }
  const Stack* stack() const noexcept { return stack_.get(); }
  // Between tasks. REQUIRES: idle, own stack.
  Stack& idle_stack() noexcept {
    assert(idle() && stack_);
    return *stack_;
  }

  // Number of coroutine stacks in the process, for leak checks.
  static int count() noexcept { return count_; }
  // In a forked child, where the parent's are left as they are.
  static void forget_in_child() noexcept { count_ = 0; }

 private:
  void run_tasks() noexcept;
  void arrived(boost::context::fiber came_from) noexcept;

  std::unique_ptr<Stack> stack_;
  boost::context::fiber continuation_;  // While it does not run.
  Coroutine* left_ = nullptr;           // The one that the current switch comes from.
  StackBounds bounds_;
  Task task_ = nullptr;
  void* argument_ = nullptr;
  bool stopping_ = false;

  static inline int count_ = 0;
};

}  // namespace suspend
