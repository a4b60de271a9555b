// What AddressSanitizer must be told when stacks change; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SUSPEND_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SUSPEND_WITH_ASAN 1
#endif
#endif

#ifdef SUSPEND_WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace suspend {

// Where a stack lies, for the sanitizer; not kept in other builds.
struct StackBounds {
  const void* bottom = nullptr;
  std::size_t size = 0;
};

namespace sanitizer {

// One side of a switch: leave() just before the jump, arrive() just after it.
class SwitchSide {
 public:
#ifdef SUSPEND_WITH_ASAN
  void leave(const StackBounds& to) noexcept {
    __sanitizer_start_switch_fiber(&fake_stack_, to.bottom, to.size);
  }
  // Reports where the stack just left lies, so that it can be named when switching back.
  void arrive(StackBounds* left) noexcept {
    __sanitizer_finish_switch_fiber(fake_stack_, &left->bottom, &left->size);
  }
  // Leaves a stack for good.
  static void leave_for_good(const StackBounds& to) noexcept {
    __sanitizer_start_switch_fiber(nullptr, to.bottom, to.size);
  }

 private:
  void* fake_stack_ = nullptr;
#else
  void leave(const StackBounds&) noexcept {}
  void arrive(StackBounds*) noexcept {}
  static void leave_for_good(const StackBounds&) noexcept {}
#endif
};

// While this lives, a context is made. Boost enters it for a moment; if ASan then took its entry's frame from
// this thread's memory for frames (detect_stack_use_after_return), that frame would end with the thread.
class MakesContext {
 public:
#ifdef SUSPEND_WITH_ASAN
  explicit MakesContext(const StackBounds& its) noexcept { side_.leave(its); }
  ~MakesContext() {
    StackBounds ours, its;
    side_.arrive(&ours);
    side_.leave(ours);
    side_.arrive(&its);
  }
  MakesContext(const MakesContext&) = delete;
  MakesContext& operator=(const MakesContext&) = delete;

 private:
  SwitchSide side_;
#else
  explicit MakesContext(const StackBounds&) noexcept {}
#endif
};

// A fiber's entry frame never returns, so its red zones outlive the mapping.
inline void forget_stack(const void* bottom, std::size_t size) noexcept {
#ifdef SUSPEND_WITH_ASAN
  __asan_unpoison_memory_region(bottom, size);
#else
  (void)bottom;
  (void)size;
#endif
}

}  // namespace sanitizer
}  // namespace suspend
