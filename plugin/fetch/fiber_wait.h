// The wait of a request for its transfer.
#pragma once

#include <utility>

#include "plugin/python/interruption.h"
#include "plugin/python/virtual_thread.h"
#include "suspend/baton.h"

namespace python {

class FiberWait {
 public:
  // Suspends `thread`, the running one, until wake(). Throws PyError if it is interrupted.
  void wait(VirtualThread& thread) {
    suspend::Baton baton(thread.fiber(), "fetch", suspend::Abort::kAllowed);
    baton_ = &baton;
    baton.wait();
    baton_ = nullptr;
    raise_if_interrupted(thread);
  }
  bool waiting() const noexcept { return baton_ != nullptr; }

  // Resumes the waiting request at once. On the loop's own stack.
  void wake() noexcept {
    if (suspend::Baton* const baton = std::exchange(baton_, nullptr)) baton->post();
  }
  // The same in a later turn of the loop. From any thread.
  void wake_soon() noexcept {
    if (suspend::Baton* const baton = std::exchange(baton_, nullptr)) baton->post_soon();
  }

 private:
  suspend::Baton* baton_ = nullptr;
};

}  // namespace python
