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

namespace suspend::sanitizer {

// One side of a switch: leave() just before the jump, arrive() just after it.
class SwitchSide {
 public:
#ifdef SUSPEND_WITH_ASAN
  void leave(const void* bottom, std::size_t size) noexcept {
    __sanitizer_start_switch_fiber(&fake_stack_, bottom, size);
  }
  // Says where the stack just left lies, so that it can be named when switching back.
  void arrive(const void** bottom, std::size_t* size) noexcept {
    __sanitizer_finish_switch_fiber(fake_stack_, bottom, size);
  }
  // Leaves a stack that will never be returned to.
  static void leave_for_good(const void* bottom, std::size_t size) noexcept {
    __sanitizer_start_switch_fiber(nullptr, bottom, size);
  }

 private:
  void* fake_stack_ = nullptr;
#else
  void leave(const void*, std::size_t) noexcept {}
  void arrive(const void**, std::size_t*) noexcept {}
  static void leave_for_good(const void*, std::size_t) noexcept {}
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

}  // namespace suspend::sanitizer
