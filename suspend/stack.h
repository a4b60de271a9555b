// The memory a fiber runs on.
#pragma once

#include <atomic>
#include <cstddef>

namespace suspend {

// Reserved address space with a guard at its low end. Pages are committed by the kernel as
// they are touched, so a large size costs little until used.
class Stack {
 public:
  // Reserves `size` bytes plus `annex_size` bytes above them, rounded up to pages together, plus the guard.
  // Throws std::bad_alloc when address space or a limit is exhausted.
  explicit Stack(std::size_t size, std::size_t annex_size = 0);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* top() const noexcept { return static_cast<char*>(bottom_) + size_; }
  void* bottom() const noexcept { return bottom_; }
  std::size_t size() const noexcept { return size_; }
  // Memory for other data with the same lifetime. It begins where the stack begins, so both share a page. The
  // annex ends at the end of a page.
  void* annex() const noexcept { return top(); }
  std::size_t annex_size() const noexcept { return annex_size_; }

  // Never unmap it, because something still refers to its contents.
  void keep_mapped() noexcept { kept_mapped_ = true; }

  // True if `address` is in the guard, so the fiber overran its stack.
  bool guards(const void* address) const noexcept;

  // How deep the stack was used since it was made or trimmed, in whole pages. Costs a system call. Pages that
  // the kernel has swapped out are not seen.
  std::size_t bytes_used() const noexcept;
  // The same, and updates deepest().
  std::size_t measure() noexcept;

  // If a deep call used memory below the first kKept bytes, gives it back to the system and
  // returns true. Otherwise it only looks at one page. REQUIRES: idle; nothing is stored
  // there.
  bool trim() noexcept;
  static constexpr std::size_t kKept = 256u << 10;

  // Gives the whole pages below `address` back with a system call. REQUIRES: nothing is stored below
  // `address`.
  void release_below(const void* address) noexcept;

  // The deepest use of any stack in the process that measure() or trim() has seen.
  static std::size_t deepest() noexcept { return deepest_.load(std::memory_order_relaxed); }

  // --- For signal handlers: async-signal-safe, null when another thread is in the way. ---------

  // The stack in whose guard `address` lies, or null.
  static const Stack* guarding(const void* address) noexcept;
  // A stack that was used to its last page, or null.
  static const Stack* used_up() noexcept;

 private:
  template <typename Predicate>
  static const Stack* find(Predicate fits) noexcept;
  const char* end() const noexcept;
  const char* probe() const noexcept;
  bool probe_is_clean() const noexcept;

  void* bottom_;  // The lowest usable byte; the guard lies below it.
  std::size_t size_;
  std::size_t annex_size_;
  bool kept_mapped_ = false;
  Stack* next_ = nullptr;  // In the list of all stacks of the process.
  Stack* previous_ = nullptr;

  static inline Stack* first_ = nullptr;
  static inline std::atomic<std::size_t> deepest_{0};
};

}  // namespace suspend
