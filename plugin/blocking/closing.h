// Closing descriptors that fibers wait for.
#pragma once

namespace blocking {

// Takes the one descriptor that this needs while there are some. Before any thread closes.
void prepare_to_close() noexcept;

// The calls of these names, on any thread. Every fiber that waits for the descriptor that is
// closed wakes and learns that it is gone, also when the number is used again at once.
int close_and_wake(int fd) noexcept;
int dup2_and_wake(int from, int to) noexcept;
int dup3_and_wake(int from, int to, int flags) noexcept;
int close_range_and_wake(unsigned int first, unsigned int last, int flags) noexcept;
void closefrom_and_wake(int first) noexcept;

}  // namespace blocking
