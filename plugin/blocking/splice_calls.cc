
#include <fcntl.h>
#include <poll.h>

#include <cerrno>

#include "plugin/blocking/fd_retry.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally splice_tally("splice");

// The ends of a transfer. One that is a regular file is always ready.
struct End {
  int fd;
  short events;
};

// No flag keeps a transfer from waiting at the end that is no pipe. So the loop waits until both ends are
// ready, and a helper makes the call, which may find that one is not.
template <typename Transfer>
ssize_t transfer_between(unsigned int flags, End first, End second, Transfer transfer) noexcept {
  Fiber* const fiber = (flags & SPLICE_F_NONBLOCK) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(splice_tally, transfer);
  for (const End& end : {first, second}) {
    if (end.fd >= 0 && !wait_until_ready(*fiber, splice_tally, end.fd, end.events)) return -1;
  }
  return offload(*fiber, splice_tally, JobKind::kWait, transfer, transfer);
}

ssize_t suspending_splice(int from, off64_t* from_offset, int to, off64_t* to_offset, std::size_t size,
                          unsigned int flags) noexcept {
  return transfer_between(flags, {from, POLLIN}, {to, POLLOUT},
                          [&] { return libc::splice(from, from_offset, to, to_offset, size, flags); });
}

ssize_t suspending_tee(int from, int to, std::size_t size, unsigned int flags) noexcept {
  return transfer_between(flags, {from, POLLIN}, {to, POLLOUT},
                          [&] { return libc::tee(from, to, size, flags); });
}

// The end that is written to may be either.
ssize_t suspending_vmsplice(int pipe, const iovec* parts, std::size_t count, unsigned int flags) noexcept {
  const bool reads = (libc::fcntl(pipe, F_GETFL) & O_ACCMODE) == O_RDONLY;
  return transfer_between(flags, {pipe, static_cast<short>(reads ? POLLIN : POLLOUT)}, {-1, 0},
                          [&] { return libc::vmsplice(pipe, parts, count, flags); });
}

}  // namespace

std::vector<Call> splice_calls() {
  return {
      {"splice", keeping_errno<suspending_splice>()},
      {"tee", keeping_errno<suspending_tee>()},
      {"vmsplice", keeping_errno<suspending_vmsplice>()},
  };
}

}  // namespace blocking
