// The register by which code finds what libc and the compiler keep per thread.
#pragma once

#include <cstdint>

namespace suspend {

// The address in fs on x86-64, in tpidr_el0 on aarch64.
using ThreadPointer = std::uintptr_t;

#if defined(__x86_64__)

namespace thread_pointer {
// True where the kernel lets a process write fs itself (Linux 5.9 on a CPU with FSGSBASE).
extern const bool may_write_fs;
void set_by_system_call(ThreadPointer to) noexcept;
}  // namespace thread_pointer

inline ThreadPointer current_thread_pointer() noexcept {
  ThreadPointer pointer;
  asm volatile("mov %%fs:0, %0" : "=r"(pointer));  // The psABI has it point at itself.
  return pointer;
}

inline void set_thread_pointer(ThreadPointer to) noexcept {
  if (__builtin_expect(thread_pointer::may_write_fs, 1)) asm volatile("wrfsbase %0" : : "r"(to) : "memory");
  else thread_pointer::set_by_system_call(to);
}

#elif defined(__aarch64__)

inline ThreadPointer current_thread_pointer() noexcept {
  ThreadPointer pointer;
  asm volatile("mrs %0, tpidr_el0" : "=r"(pointer));
  return pointer;
}

inline void set_thread_pointer(ThreadPointer to) noexcept {
  asm volatile("msr tpidr_el0, %0" : : "r"(to) : "memory");
}

#else
#error "fibers need the thread pointer, which is known for x86-64 and aarch64"
#endif

}  // namespace suspend
