// The table of descriptors.
#pragma once

namespace blocking {

// If a second thread shares the descriptors, every system call of the loop's thread counts a reference. A
// thread that calls this keeps only the standard ones.
void leave_descriptors() noexcept;

// How many descriptors the process can have at present; 0 if unknown.
int descriptor_table_size() noexcept;

}  // namespace blocking
