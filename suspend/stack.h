// The memory a fiber runs on.
#pragma once

#include <cstddef>

namespace suspend {

// Reserved address space with a guard page at its low end. Pages are committed
// by the kernel as they are touched, so a large size costs little until used.
class Stack {
 public:
  // Reserves `size` bytes, rounded up to pages, plus the guard page.
  // Throws std::bad_alloc when the address space or a limit is exhausted.
  explicit Stack(std::size_t size);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* top() const noexcept { return static_cast<char*>(bottom_) + size_; }
  void* bottom() const noexcept { return bottom_; }
  std::size_t size() const noexcept { return size_; }

  // True when `address` lies in the guard page: the fiber overran its stack.
  bool guards(const void* address) const noexcept;

 private:
  void* bottom_;  // The lowest usable byte; the guard page lies below it.
  std::size_t size_;
};

}  // namespace suspend
