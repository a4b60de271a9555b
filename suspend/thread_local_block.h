// Where an object's thread-local variables lie.
#pragma once

#include <cstddef>

namespace suspend {

// The thread_local variables of one object, of the calling thread.
struct ThreadLocalBlock {
  char* begin = nullptr;  // Null where the object has none.
  std::size_t size = 0;
  std::size_t module = 0;  // By which the loader knows the object.
};

// Of the object that holds `code`. Made for this thread where it was not yet.
ThreadLocalBlock thread_local_block_of(const void* code) noexcept;

// One variable, in whichever thread.
struct ThreadLocalPlace {
  std::size_t module = 0;
  std::size_t offset = 0;
};

void* address_in_this_thread(const ThreadLocalPlace& place) noexcept;

}  // namespace suspend
