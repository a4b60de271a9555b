// Closing descriptors that fibers wait for.
#pragma once

namespace blocking {

// Opens the one descriptor that this needs. Call it before any thread closes descriptors.
void prepare_to_close() noexcept;

// The calls of these names, on any thread. They wake every fiber that waits for the closed descriptor and
// tell it so, even if the number is used again at once.
int close_and_wake(int fd) noexcept;
int dup2_and_wake(int from, int to) noexcept;
int dup3_and_wake(int from, int to, int flags) noexcept;
int close_range_and_wake(unsigned int first, unsigned int last, int flags) noexcept;
void closefrom_and_wake(int first) noexcept;

}  // namespace blocking
