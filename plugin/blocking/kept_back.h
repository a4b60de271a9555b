// What the loop's own stack keeps back for a moment must not wait while that stack blocks.
#pragma once

#include <atomic>

namespace blocking {

// Has something that it keeps back.
class KeptBack {
 public:
  // Lets it go. Called on the loop's own stack, which is about to block or to run others. The GIL may be held
  // or not.
  virtual void release() noexcept = 0;

 protected:
  ~KeptBack() = default;
};

// Null while nothing is kept back. Only the loop's thread sets it.
inline std::atomic<KeptBack*> kept_back{nullptr};

// Does nothing on other threads, in a fiber, in a signal handler and in a child of vfork(). errno survives.
void release_kept_back(KeptBack& kept) noexcept;

// Before a call that may block, on any thread. One load where nothing is kept back.
inline void release_kept_back() noexcept {
  KeptBack* const kept = kept_back.load(std::memory_order_relaxed);
  if (__builtin_expect(kept != nullptr, 0)) release_kept_back(*kept);
}

}  // namespace blocking
