// A request waits for its transfer.
#pragma once

#include <utility>

#include "plugin/blocking/gate.h"
#include "plugin/python/virtual_thread.h"

namespace python {

class FiberWait {
 public:
  // Suspends `thread`, which runs, until wake().
  void wait(VirtualThread& thread) noexcept {
    waiting_ = &thread;
    thread.suspend();
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
  VirtualThread* waiting_ = nullptr;
};

}  // namespace python
