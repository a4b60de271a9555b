// The signal mask of a fiber, which is a thread's own to C and the OS thread's to the kernel.
#pragma once

#include <cstdint>

namespace blocking {

// The mask that the loop and fresh fibers have is the calling thread's, now. Called by open_gate().
void note_loops_signal_mask() noexcept;

// What a fiber has blocked beyond the loop's mask while it is not running.
class SignalMaskAside {
 public:
  // On the fiber, before it is left. `look`: it may have been set by code whose calls are not seen, and is
  // asked of the kernel; else that costs nothing where there is no mask of its own.
  void put_aside(bool look) noexcept;
  // On the fiber, as it runs again.
  void bring_back() noexcept;

 private:
  bool aside_ = false;
  std::uint64_t mask_;  // The kernel's signals; libc's sigset_t has room for 1,024.
};

}  // namespace blocking
