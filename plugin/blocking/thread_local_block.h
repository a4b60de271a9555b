// What a loaded object keeps per OS thread.
#pragma once

#include <cstddef>

namespace blocking {

// The thread_local variables of one object, of the calling thread.
struct ThreadLocalBlock {
  void* begin = nullptr;  // Null where the object has none, or this thread has not used them.
  std::size_t size = 0;
  bool starts_as_zeros = false;  // In a new thread.
};

// Of the object that holds `address`.
ThreadLocalBlock thread_local_block(const void* address) noexcept;

}  // namespace blocking
