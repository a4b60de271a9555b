// Finds the thread-local variables of an object.
#pragma once

#include <cstddef>

namespace suspend {

// The thread_local variables of one object, for the calling thread.
struct ThreadLocalBlock {
  char* begin = nullptr;  // Null if the object has none.
  std::size_t size = 0;
  std::size_t module = 0;  // The loader's number of the object.
};

// The block of the object that contains `code`. Allocates it for this thread if necessary.
ThreadLocalBlock thread_local_block_of(const void* code) noexcept;

// Identifies one variable, independent of the thread.
struct ThreadLocalPlace {
  std::size_t module = 0;
  std::size_t offset = 0;
};

void* address_in_this_thread(const ThreadLocalPlace& place) noexcept;

}  // namespace suspend
