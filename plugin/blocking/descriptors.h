// A thread of ours that wants no descriptors.
#pragma once

namespace blocking {

// Descriptors shared with a second thread cost every system call of the loop's thread a counted
// reference. The thread that calls this keeps none but the standard ones.
void leave_descriptors() noexcept;

}  // namespace blocking
