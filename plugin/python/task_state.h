// The state of one task of a virtual thread. A task is a request or a function of spawn().
//
// The fiber consults it before each wait: may the task be suspended, is it interrupted. To end a task from
// outside, Interruption::begin() stores an exception and begins the task's Interrupt, which ends its present
// wait. The call that waited fails, CPython raises the exception in its place, and the application unwinds
// as from any other.
#pragma once

#include <cstdint>

#include "plugin/python/interruption.h"
#include "suspend/baton.h"

namespace python {

// Each task starts with a new one, so a section that a task failed to leave does not affect the next task.
// The loop's thread.
class TaskState {
 public:
  TaskState() noexcept : number_(++last_number_) {}

  // Unique among the tasks of this process; never 0.
  std::uint64_t number() const noexcept { return number_; }

  // Sections in which the task must not be suspended. They nest.
  void forbid_suspension() noexcept { ++forbidden_; }
  void allow_suspension() noexcept { --forbidden_; }
  bool suspension_is_forbidden() const noexcept { return forbidden_ != 0; }

  // Sections in which the task may wait but is not preempted, because it holds something (such as a lock)
  // that another task would block the OS thread for. They nest; an end without a beginning is ignored.
  void keep_turn() noexcept { ++turns_kept_; }
  void yield_turn() noexcept {
    if (turns_kept_ > 0) --turns_kept_;
  }
  bool keeps_turn() const noexcept { return turns_kept_ != 0; }

  // Ends its waits; holds the shields against that.
  suspend::Interrupt& interrupt() noexcept { return interrupt_; }
  // The exception that ends it.
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
