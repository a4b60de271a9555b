// Waiting for descriptors and deadlines on behalf of a blocking call.
#pragma once

#include <poll.h>

#include <cerrno>

#include "plugin/loop/deadline.h"
#include "suspend/baton.h"

namespace blocking {

using loop::Deadline;
using suspend::Abort;
using suspend::Woken;

// The error of a call that was interrupted. No caller retries on it, as callers do on EINTR.
constexpr int kInterruptedErrno = ECANCELED;

// Waits until `baton` is posted or the deadline passes. errno and h_errno survive.
Woken wait(suspend::Baton& baton, Deadline deadline = Deadline::never()) noexcept;

// For a wait of the loop's own stack: turns the loop once, and at the deadline at the latest.
// REQUIRES: the gate's can_turn().
void turn(Deadline deadline) noexcept;
// Ends such a wait: the current turn does not sleep. Any thread.
void end_turn() noexcept;

// Suspends `fiber`, the one that runs, until one of the descriptors may be ready for what
// it asks, one is closed, or the deadline passes. Negative descriptors are skipped.
// When woken by a close, sets `revents` as poll(2) does: POLLNVAL for what was closed.
Woken wait_for(suspend::Fiber& fiber, pollfd* descriptors, nfds_t count, Deadline deadline);

// The same for one descriptor and POLLIN, POLLOUT or, to hear only of its closing, 0.
Woken wait_for(suspend::Fiber& fiber, int fd, short events, Deadline deadline);

// Suspends `fiber` until the deadline: timed out or interrupted. REQUIRES: not never.
Woken sleep_until(suspend::Fiber& fiber, Deadline deadline);

}  // namespace blocking
