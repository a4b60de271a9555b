// What a suspended fiber waits for: seen from outside, and ended from there.
#pragma once

#include "suspend/fiber.h"

namespace suspend {

// Lives on the stack of the fiber that runs and is about to suspend, for as long as the wait.
// A wait that can be ended early is left alone while the fiber is shielded.
class Waiting {
 public:
  // `what` lives for ever ("sleep", "lock"); `fd` is the descriptor waited for, or -1.
  Waiting(Fiber& fiber, const char* what, int fd = -1) noexcept;
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  const char* what() const noexcept { return what_; }
  int fd() const noexcept { return fd_; }
  Fiber& fiber() const noexcept { return fiber_; }

  // The fiber is to go on without what it waits for. True at once where that was so before:
  // then a wait that can be ended does not begin.
  bool interrupted() const noexcept {
    if (interrupted_) fiber_.interrupt_met_ = true;
    return interrupted_;
  }

 protected:
  // Resumes the fiber, or sees to it that something will. On the loop's stack, at most once, while
  // the fiber is suspended. What cannot be ended goes on waiting.
  virtual void end_early() noexcept {}

 private:
  friend class Fiber;

  Fiber& fiber_;
  Waiting* const outer_;
  const char* const what_;
  const int fd_;
  bool interrupted_;
};

// One that is ended by resuming the fiber here and now: its watchers stop as it leaves their scope.
class ResumedEarly final : public Waiting {
 public:
  using Waiting::Waiting;

 private:
  void end_early() noexcept override { fiber().resume(); }
};

}  // namespace suspend
