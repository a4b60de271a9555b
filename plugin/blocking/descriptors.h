// The table of descriptors.
#pragma once

namespace blocking {

// Descriptors shared with a second thread cost every system call of the loop's thread a counted
// reference. The thread that calls this keeps none but the standard ones.
void leave_descriptors() noexcept;

// How many descriptors the process can have at present; 0 when it cannot be told.
int descriptor_table_size() noexcept;

}  // namespace blocking
