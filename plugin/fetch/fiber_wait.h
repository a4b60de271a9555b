// A request waits for its transfer.
#pragma once

#include <utility>

#include "plugin/blocking/gate.h"
#include "plugin/python/interruption.h"
#include "plugin/python/virtual_thread.h"
#include "suspend/waiting.h"

namespace python {

class FiberWait {
 public:
  // Suspends `thread`, which runs, until wake(). Throws PyError where it is interrupted.
  void wait(VirtualThread& thread) {
    const Wait wait(thread, *this);
    if (!wait.interrupted()) {
      waiting_ = &thread;
      thread.suspend();
    }
    raise_if_interrupted(thread);
  }
  bool waiting() const noexcept { return waiting_ != nullptr; }

  // Runs the one that waits, here and now. From the loop's own stack.
  void wake() noexcept {
    if (!waiting()) return;
    const loop::Callback resume = blocking::resumes(std::exchange(waiting_, nullptr)->fiber());
    resume.function(resume.argument);
  }
  // The same in a later turn of the loop. From any thread.
  void wake_soon() noexcept {
    if (!waiting()) return;
    VirtualThread& thread = *std::exchange(waiting_, nullptr);
    thread.loop().add_callback_threadsafe(blocking::resumes(thread.fiber()));
  }

 private:
  class Wait final : public suspend::Waiting {
   public:
    Wait(VirtualThread& thread, FiberWait& owner) noexcept : Waiting(thread.fiber(), "fetch"), owner_(owner) {}

   private:
    void end_early() noexcept override { owner_.wake(); }

    FiberWait& owner_;
  };

  VirtualThread* waiting_ = nullptr;
};

}  // namespace python
