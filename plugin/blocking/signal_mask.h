// The signal mask of a fiber, which is a thread's own to C and the OS thread's to the kernel.
#pragma once

#include <cstdint>

namespace blocking {

// Takes the calling thread's present mask as that of the loop and of new fibers. Called by open_gate().
void note_loops_signal_mask() noexcept;

// The signals that a fiber blocks beyond the loop's mask, kept while it is not running.
class SignalMaskAside {
 public:
  // On the fiber, before it is left. With `look` it asks the kernel, because code whose calls are not seen
  // may have set the mask. Otherwise a fiber without a mask of its own costs nothing.
  void put_aside(bool look) noexcept;
  // On the fiber, when it runs again.
  void bring_back() noexcept;

 private:
  bool aside_ = false;
  std::uint64_t mask_;  // The kernel's signals; libc's sigset_t has room for 1,024.
};

}  // namespace blocking
