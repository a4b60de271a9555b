// What belongs to one task of a virtual thread: a request, or a function of spawn().
//
// The thread's fiber asks it before each wait: may the task be suspended, is it interrupted. How a task is
// ended from outside: Interruption::begin() notes the exception and begins the task's Interrupt, which ends
// the wait that the task is in; the call that waited fails, CPython raises the exception in its place, and
// the application unwinds as from any other.
#pragma once

#include <cstdint>

#include "plugin/python/interruption.h"
#include "suspend/baton.h"

namespace python {

// Made anew as each task begins: what a task has begun and not ended is not left to the next. The loop's
// thread.
class TaskState {
 public:
  TaskState() noexcept : number_(++last_number_) {}

  // No other task of this process has it; never 0.
  std::uint64_t number() const noexcept { return number_; }

  // Sections in which the task must not be suspended nest.
  void forbid_suspension() noexcept { ++forbidden_; }
  void allow_suspension() noexcept { --forbidden_; }
  bool suspension_is_forbidden() const noexcept { return forbidden_ != 0; }

  // Sections in which the task waits as it likes but does not give way: it holds what another
  // would stop the OS thread for. An end without a beginning is ignored.
  void keep_turn() noexcept { ++turns_kept_; }
  void yield_turn() noexcept {
    if (turns_kept_ > 0) --turns_kept_;
  }
  bool keeps_turn() const noexcept { return turns_kept_ != 0; }

  // Whether its waits are to be ended, and the shields that keep that off.
  suspend::Interrupt& interrupt() noexcept { return interrupt_; }
  // The exception that it is being ended with.
  Interruption& interruption() noexcept { return interruption_; }

 private:
  std::uint64_t number_;
  int forbidden_ = 0;
  int turns_kept_ = 0;
  suspend::Interrupt interrupt_;
  Interruption interruption_;

  static inline std::uint64_t last_number_ = 0;
};

}  // namespace python
