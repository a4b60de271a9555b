
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "plugin/blocking/fd_retry.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

// Every replacement below has the contract of the call it is named after (its manual
// page); where it may not suspend it is that call. None tells by errno that it waited.

namespace blocking {
namespace {

using suspend::Fiber;

Tally recvfrom_tally("recv");
Tally recvmsg_tally("recvmsg");
Tally sendto_tally("send");
Tally sendmsg_tally("sendmsg");
Tally read_tally("read");
Tally readv_tally("readv");
Tally write_tally("write");
Tally writev_tally("writev");
Tally sendfile64_tally("sendfile");

// One message or what a stream has: try(flags) until it no longer would block. `tried`: once already, in
// vain.
template <typename Try>
ssize_t receive_once(Fiber& fiber, Tally& tally, int fd, int flags, Try try_with, bool tried = false) {
  FdRetry retry(fiber, fd, POLLIN, tally);
  if (tried && !retry.wait_again()) return -1;
  for (;;) {
    const ssize_t got = try_with(flags | MSG_DONTWAIT);
    if (got >= 0 || !would_block() || !retry.wait_again()) return got;
  }
}

// All of `size` bytes of a stream, or less at its end or at an error (MSG_WAITALL).
template <typename TryAt>
ssize_t receive_all(Fiber& fiber, Tally& tally, int fd, std::size_t size, int flags, TryAt try_at) {
  FdRetry retry(fiber, fd, POLLIN, tally);
  std::size_t total = 0;
  for (;;) {
    const ssize_t got = try_at(total, flags | MSG_DONTWAIT);
    if (got > 0) total += static_cast<std::size_t>(got);
    if (got == 0 || total == size) return static_cast<ssize_t>(total);
    if (got > 0) continue;
    if (!would_block() || !retry.wait_again()) return total > 0 ? static_cast<ssize_t>(total) : -1;
  }
}

// SIGPIPE is for a call that sent nothing.
int no_signal_after(std::size_t sent) noexcept { return sent > 0 ? MSG_NOSIGNAL : 0; }

// A blocking send returns once all is queued, or with what was queued before an error.
// `total` bytes are queued already.
template <typename TryAt>
ssize_t send_all(Fiber& fiber, Tally& tally, int fd, std::size_t size, TryAt try_at, std::size_t total = 0) {
  FdRetry retry(fiber, fd, POLLOUT, tally);
  for (;;) {
    const ssize_t sent = try_at(total);
    if (sent < 0) {
      if (would_block() && retry.wait_again()) continue;
      break;
    }
    total += static_cast<std::size_t>(sent);
    // Nothing sent is the end of what sendfile() reads.
    if (total >= size || sent == 0 || is_nonblocking(fd)) return static_cast<ssize_t>(total);
  }
  return total > 0 ? static_cast<ssize_t>(total) : -1;
}

std::size_t total_size(const iovec* parts, std::size_t count) noexcept {
  return std::accumulate(parts, parts + count, std::size_t{0},
                         [](std::size_t sum, const iovec& part) { return sum + part.iov_len; });
}

// What remains of `parts` once `done` bytes went out.
std::vector<iovec> remaining(const iovec* parts, std::size_t count, std::size_t done) {
  std::vector<iovec> rest(parts, parts + count);
  auto first = rest.begin();
  while (first != rest.end() && done >= first->iov_len) done -= (first++)->iov_len;
  if (first != rest.end()) {
    first->iov_base = static_cast<char*>(first->iov_base) + done;
    first->iov_len -= done;
  }
  rest.erase(rest.begin(), first);
  return rest;
}

// MSG_PEEK with MSG_WAITALL: no event tells that more has come than was there to be seen.
template <typename Try>
ssize_t peek_all(Fiber& fiber, Tally& tally, int fd, std::size_t size, int flags, Try try_with) {
  FdRetry retry(fiber, fd, POLLIN, tally);
  for (;;) {
    const ssize_t got = try_with(flags | MSG_DONTWAIT);
    if (got < 0 && would_block() && retry.wait_again()) continue;
    if (got <= 0 || static_cast<std::size_t>(got) >= size || is_ready(fd, POLLRDHUP)) return got;
    if (!retry.wait_a_moment()) return got;
  }
}

// Where recv(2) waits for all that was asked for: on a stream, and not where the
// descriptor says not to wait.
bool waits_for_all(int fd, int flags) noexcept {
  return (flags & MSG_WAITALL) != 0 && !is_nonblocking(fd) && socket_option(fd, SO_TYPE) == SOCK_STREAM;
}

// Urgent data and the error queue are there or not: the kernel never waits for them.
constexpr int kNeverWaits = MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE;

ssize_t suspending_recvfrom(int fd, void* buffer, std::size_t size, int flags, sockaddr* from,
                            socklen_t* from_size) noexcept {
  const bool tried = (flags & (kNeverWaits | MSG_WAITALL)) == 0 && in_fiber();
  if (tried) {
    const ssize_t got = libc::recvfrom(fd, buffer, size, flags | MSG_DONTWAIT, from, from_size);
    if (got >= 0 || !would_block()) return got;
  }
  Fiber* fiber = (flags & kNeverWaits) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr)
    return natively(recvfrom_tally, [&] { return libc::recvfrom(fd, buffer, size, flags, from, from_size); });
  const auto receive = [&](int with) { return libc::recvfrom(fd, buffer, size, with, from, from_size); };
  if (!waits_for_all(fd, flags)) return receive_once(*fiber, recvfrom_tally, fd, flags, receive, tried);
  if ((flags & MSG_PEEK) != 0) return peek_all(*fiber, recvfrom_tally, fd, size, flags, receive);
  return receive_all(*fiber, recvfrom_tally, fd, size, flags, [&](std::size_t at, int with) {
    return libc::recvfrom(fd, static_cast<char*>(buffer) + at, size - at, with, from, from_size);
  });
}

ssize_t suspending_recv(int fd, void* buffer, std::size_t size, int flags) noexcept {
  return suspending_recvfrom(fd, buffer, size, flags, nullptr, nullptr);
}

ssize_t suspending_recvmsg(int fd, msghdr* message, int flags) noexcept {
  Fiber* fiber = (flags & kNeverWaits) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(recvmsg_tally, [&] { return libc::recvmsg(fd, message, flags); });
  const auto receive = [&](int with) { return libc::recvmsg(fd, message, with); };
  if (!waits_for_all(fd, flags)) return receive_once(*fiber, recvmsg_tally, fd, flags, receive);
  const std::size_t size = total_size(message->msg_iov, message->msg_iovlen);
  if ((flags & MSG_PEEK) != 0) return peek_all(*fiber, recvmsg_tally, fd, size, flags, receive);
  return receive_all(*fiber, recvmsg_tally, fd, size, flags, [&](std::size_t at, int with) {
    if (at == 0) return receive(with);
    // Control data came with the first bytes.
    auto rest = remaining(message->msg_iov, message->msg_iovlen, at);
    msghdr next{};
    next.msg_iov = rest.data();
    next.msg_iovlen = rest.size();
    return libc::recvmsg(fd, &next, with);
  });
}

ssize_t suspending_sendto(int fd, const void* buffer, std::size_t size, int flags, const sockaddr* to,
                          socklen_t to_size) noexcept {
  const auto send_at = [&](std::size_t at, int with) {
    return libc::sendto(fd, static_cast<const char*>(buffer) + at, size - at, with | no_signal_after(at), to,
                        to_size);
  };
  std::size_t sent = 0;
  if ((flags & MSG_DONTWAIT) == 0 && in_fiber()) {
    const ssize_t first = send_at(0, flags | MSG_DONTWAIT);
    if (first < 0 && !would_block()) return -1;
    if (first > 0) sent = static_cast<std::size_t>(first);
    if (first >= 0 && sent == size) return first;
  }
  Fiber* fiber = (flags & MSG_DONTWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) {
    const ssize_t rest = natively(sendto_tally, [&] { return send_at(sent, flags); });
    return sent == 0 ? rest : static_cast<ssize_t>(sent) + std::max<ssize_t>(rest, 0);
  }
  return send_all(
      *fiber, sendto_tally, fd, size, [&](std::size_t at) { return send_at(at, flags | MSG_DONTWAIT); },
      sent);
}

ssize_t suspending_send(int fd, const void* buffer, std::size_t size, int flags) noexcept {
  return suspending_sendto(fd, buffer, size, flags, nullptr, 0);
}

ssize_t suspending_sendmsg(int fd, const msghdr* message, int flags) noexcept {
  Fiber* fiber = (flags & MSG_DONTWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(sendmsg_tally, [&] { return libc::sendmsg(fd, message, flags); });
  const std::size_t size = total_size(message->msg_iov, message->msg_iovlen);
  return send_all(*fiber, sendmsg_tally, fd, size, [&](std::size_t at) {
    if (at == 0) return libc::sendmsg(fd, message, flags | MSG_DONTWAIT);
    // Control data went out with the first bytes.
    auto rest = remaining(message->msg_iov, message->msg_iovlen, at);
    msghdr next{};
    next.msg_name = message->msg_name;
    next.msg_namelen = message->msg_namelen;
    next.msg_iov = rest.data();
    next.msg_iovlen = rest.size();
    return libc::sendmsg(fd, &next, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
  });
}

// How a read or a write of a descriptor waits. Most are of files, and poll() says of those what fstat() has
// said already.
enum class Waits { kNever, kAsSocket, kAsFifo, kAsPolled };

Waits waits_of(int fd) noexcept {
  struct stat status;
  if (fstat(fd, &status) != 0) return Waits::kNever;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFBLK: return Waits::kNever;
    case S_IFSOCK: return Waits::kAsSocket;
    case S_IFIFO: return Waits::kAsFifo;
    default: return Waits::kAsPolled;
  }
}

bool is_fifo(int fd) noexcept { return waits_of(fd) == Waits::kAsFifo; }

ssize_t suspending_read(int fd, void* buffer, std::size_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || size == 0)
    return natively(read_tally, [&] { return libc::read(fd, buffer, size); });
  static const bool interposed = libc::is_interposed(libc::read);
  const Waits waits = waits_of(fd);
  if (waits == Waits::kAsSocket && !interposed)
    return receive_once(*fiber, read_tally, fd, 0,
                        [&](int with) { return libc::recv(fd, buffer, size, with); });
  if (waits != Waits::kNever && !wait_until_ready(*fiber, read_tally, fd, POLLIN)) return -1;
  return libc::read(fd, buffer, size);
}

ssize_t suspending_readv(int fd, const iovec* parts, int count) noexcept {
  const bool nothing =
      count <= 0 || count > IOV_MAX || total_size(parts, static_cast<std::size_t>(count)) == 0;
  Fiber* fiber = nothing ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(readv_tally, [&] { return libc::readv(fd, parts, count); });
  if (waits_of(fd) != Waits::kNever && !wait_until_ready(*fiber, readv_tally, fd, POLLIN)) return -1;
  return libc::readv(fd, parts, count);
}

// A pipe that polls as writable takes PIPE_BUF bytes without blocking (pipe(7)).
ssize_t write_to_pipe(Fiber& fiber, Tally& tally, int fd, const char* bytes, std::size_t size) {
  std::size_t total = 0;
  while (total < size) {
    if (!wait_until_ready(fiber, tally, fd, POLLOUT)) break;
    const ssize_t wrote = libc::write(fd, bytes + total, std::min<std::size_t>(size - total, PIPE_BUF));
    if (wrote < 0) break;
    total += static_cast<std::size_t>(wrote);
  }
  return total > 0 ? static_cast<ssize_t>(total) : -1;
}

ssize_t suspending_write(int fd, const void* buffer, std::size_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || size == 0)
    return natively(write_tally, [&] { return libc::write(fd, buffer, size); });
  static const bool interposed = libc::is_interposed(libc::write);
  if (interposed && !is_nonblocking(fd)) {
    const auto call = [&] { return libc::write(fd, buffer, size); };
    return offload(*fiber, write_tally, JobKind::kWait, call, call);
  }
  const auto* bytes = static_cast<const char*>(buffer);
  const Waits waits = waits_of(fd);
  if (waits == Waits::kAsSocket)
    return send_all(*fiber, write_tally, fd, size, [&](std::size_t at) {
      return libc::send(fd, bytes + at, size - at, MSG_DONTWAIT | no_signal_after(at));
    });
  if (waits == Waits::kAsFifo && !is_nonblocking(fd))
    return write_to_pipe(*fiber, write_tally, fd, bytes, size);
  if (waits != Waits::kNever && !wait_until_ready(*fiber, write_tally, fd, POLLOUT)) return -1;
  return libc::write(fd, buffer, size);
}

ssize_t suspending_writev(int fd, const iovec* parts, int count) noexcept {
  Fiber* fiber = count <= 0 || count > IOV_MAX ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(writev_tally, [&] { return libc::writev(fd, parts, count); });
  const std::size_t size = total_size(parts, static_cast<std::size_t>(count));
  if (size == 0) return libc::writev(fd, parts, count);
  const Waits waits = waits_of(fd);
  // Sockets take part of it without waiting; pipes take one gathered write.
  if (waits == Waits::kAsSocket)
    return send_all(*fiber, writev_tally, fd, size, [&](std::size_t at) {
      auto rest = remaining(parts, static_cast<std::size_t>(count), at);
      msghdr message{};
      message.msg_iov = rest.data();
      message.msg_iovlen = rest.size();
      return libc::sendmsg(fd, &message, MSG_DONTWAIT | no_signal_after(at));
    });
  if (waits == Waits::kAsFifo && !is_nonblocking(fd)) {
    std::vector<char> bytes;
    bytes.reserve(size);
    for (int i = 0; i < count; ++i) {
      const auto* begin = static_cast<const char*>(parts[i].iov_base);
      bytes.insert(bytes.end(), begin, begin + parts[i].iov_len);
    }
    return write_to_pipe(*fiber, writev_tally, fd, bytes.data(), size);
  }
  if (waits != Waits::kNever && !wait_until_ready(*fiber, writev_tally, fd, POLLOUT)) return -1;
  return libc::writev(fd, parts, count);
}

// sendfile() has no flag not to wait, and O_NONBLOCK affects all processes with the open file. So a
// transfer to a socket is a read, and a send, which has such a flag. The next read begins where the socket
// stopped.
class FileToSocket {
 public:
  // `offset` is sendfile()'s: null for the file's own position.
  FileToSocket(int to, int from, off64_t* offset) noexcept
      : to_(to),
        from_(from),
        offset_(offset),
        begin_(offset != nullptr ? *offset : lseek64(from, 0, SEEK_CUR)) {}
  FileToSocket(const FileToSocket&) = delete;
  FileToSocket& operator=(const FileToSocket&) = delete;

  // Returns false if sendfile() itself must report the error.
  bool possible() noexcept {
    const int saved_errno = errno;
    const bool readable = begin_ >= 0 && pread64(from_, bytes_.data(), 1, begin_) >= 0;
    errno = saved_errno;
    return readable;
  }
  ssize_t send(std::size_t at, std::size_t size) noexcept {
    const off64_t where = begin_ + static_cast<off64_t>(at);
    const ssize_t got = pread64(from_, bytes_.data(), std::min(size, bytes_.size()), where);
    if (got <= 0) return got;
    return libc::send(to_, bytes_.data(), static_cast<std::size_t>(got), MSG_DONTWAIT | no_signal_after(at));
  }
  void move_on(ssize_t sent) noexcept {
    if (sent <= 0) return;
    if (offset_ != nullptr) *offset_ = begin_ + sent;
    else lseek64(from_, begin_ + sent, SEEK_SET);
  }

 private:
  const int to_;
  const int from_;
  off64_t* const offset_;
  const off64_t begin_;
  std::vector<char> bytes_ = std::vector<char>(64 << 10);
};

// What sendfile(2) transfers at most.
constexpr std::size_t kSendfileMax = 0x7ffff000;

ssize_t suspending_sendfile(int to, int from, off64_t* offset, std::size_t size) noexcept {
  Fiber* fiber = size == 0 || is_nonblocking(to) ? nullptr : may_suspend();
  const auto all_at_once = [&] { return libc::sendfile64(to, from, offset, size); };
  if (fiber == nullptr) return natively(sendfile64_tally, all_at_once);
  size = std::min(size, kSendfileMax);
  if (is_fifo(to)) {
    // To a pipe it is a splice(), which has the flag.
    return send_all(*fiber, sendfile64_tally, to, size, [&](std::size_t at) {
      return ::splice(from, offset, to, nullptr, size - at, SPLICE_F_NONBLOCK);
    });
  }
  if (socket_option(to, SO_TYPE) < 0) return natively(sendfile64_tally, all_at_once);
  FileToSocket transfer(to, from, offset);
  if (!transfer.possible()) return natively(sendfile64_tally, all_at_once);
  const ssize_t sent = send_all(*fiber, sendfile64_tally, to, size,
                                [&](std::size_t at) { return transfer.send(at, size - at); });
  transfer.move_on(sent);
  return sent;
}

// Each message as recvmsg() would have it. As with the kernel's, the timeout is looked at as one comes.
int suspending_recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags,
                        timespec* timeout) noexcept {
  if ((flags & kNeverWaits) != 0 || count == 0 || may_suspend() == nullptr) {
    return natively(recvmsg_tally, [&] { return libc::recvmmsg(fd, messages, count, flags, timeout); });
  }
  const Deadline deadline = Deadline::after_or_never(timeout);
  unsigned int received = 0;
  while (received < count) {
    const int only_what_is_there = received > 0 && (flags & MSG_WAITFORONE) != 0 ? MSG_DONTWAIT : 0;
    mmsghdr& message = messages[received];
    const ssize_t got =
        suspending_recvmsg(fd, &message.msg_hdr, (flags & ~MSG_WAITFORONE) | only_what_is_there);
    if (got < 0) break;
    message.msg_len = static_cast<unsigned int>(got);
    ++received;
    if (deadline.passed()) break;
  }
  return received > 0 ? static_cast<int>(received) : -1;
}

int suspending_sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags) noexcept {
  if ((flags & MSG_DONTWAIT) != 0 || count == 0 || may_suspend() == nullptr) {
    return natively(sendmsg_tally, [&] { return libc::sendmmsg(fd, messages, count, flags); });
  }
  unsigned int sent = 0;
  for (; sent < count; ++sent) {
    const ssize_t size = suspending_sendmsg(fd, &messages[sent].msg_hdr, flags);
    if (size < 0) break;
    messages[sent].msg_len = static_cast<unsigned int>(size);
  }
  return sent > 0 ? static_cast<int>(sent) : -1;
}

// At an offset it is a file; at -1 the descriptor's own position, which a pipe has too.
ssize_t suspending_preadv2(int fd, const iovec* parts, int count, off64_t offset, int flags) noexcept {
  Fiber* const fiber = offset != -1 || (flags & RWF_NOWAIT) != 0 ? nullptr : may_suspend();
  const auto call = [&] { return libc::preadv2(fd, parts, count, offset, flags); };
  if (fiber == nullptr) return natively(readv_tally, call);
  if (waits_of(fd) != Waits::kNever && !wait_until_ready(*fiber, readv_tally, fd, POLLIN)) return -1;
  return call();
}

ssize_t suspending_pwritev2(int fd, const iovec* parts, int count, off64_t offset, int flags) noexcept {
  if (offset == -1 && flags == 0) return suspending_writev(fd, parts, count);
  Fiber* const fiber = offset != -1 || (flags & RWF_NOWAIT) != 0 ? nullptr : may_suspend();
  const auto call = [&] { return libc::pwritev2(fd, parts, count, offset, flags); };
  if (fiber == nullptr) return natively(writev_tally, call);
  if (waits_of(fd) != Waits::kNever && !wait_until_ready(*fiber, writev_tally, fd, POLLOUT)) return -1;
  return call();
}

// What _FORTIFY_SOURCE makes of a call whose buffer's size the compiler knows. One that is too small ends the
// process in libc's way.
ssize_t suspending_recv_chk(int fd, void* buffer, std::size_t size, std::size_t room, int flags) noexcept {
  return size > room ? libc::recv_chk(fd, buffer, size, room, flags)
                     : suspending_recv(fd, buffer, size, flags);
}

ssize_t suspending_recvfrom_chk(int fd, void* buffer, std::size_t size, std::size_t room, int flags,
                                sockaddr* from, socklen_t* from_size) noexcept {
  return size > room ? libc::recvfrom_chk(fd, buffer, size, room, flags, from, from_size)
                     : suspending_recvfrom(fd, buffer, size, flags, from, from_size);
}

ssize_t suspending_read_chk(int fd, void* buffer, std::size_t size, std::size_t room) noexcept {
  return size > room ? libc::read_chk(fd, buffer, size, room) : suspending_read(fd, buffer, size);
}

}  // namespace

std::vector<Call> socket_calls() {
  return {
      {"recvmmsg", keeping_errno<suspending_recvmmsg>()},
      {"sendmmsg", keeping_errno<suspending_sendmmsg>()},
      {"__recv_chk", keeping_errno<suspending_recv_chk>()},
      {"__recvfrom_chk", keeping_errno<suspending_recvfrom_chk>()},
      {"recv", keeping_errno<suspending_recv>()},
      {"recvfrom", keeping_errno<suspending_recvfrom>()},
      {"recvmsg", keeping_errno<suspending_recvmsg>()},
      {"send", keeping_errno<suspending_send>()},
      {"sendto", keeping_errno<suspending_sendto>()},
      {"sendmsg", keeping_errno<suspending_sendmsg>()},
  };
}

std::vector<Call> stream_calls() {
  return {
      {"__read_chk", keeping_errno<suspending_read_chk>()},
      {"preadv2", keeping_errno<suspending_preadv2>()},
      {"preadv64v2", keeping_errno<suspending_preadv2>()},
      {"pwritev2", keeping_errno<suspending_pwritev2>()},
      {"pwritev64v2", keeping_errno<suspending_pwritev2>()},
      {"read", keeping_errno<suspending_read>()},
      {"readv", keeping_errno<suspending_readv>()},
      {"write", keeping_errno<suspending_write>()},
      {"writev", keeping_errno<suspending_writev>()},
      {"sendfile", keeping_errno<suspending_sendfile>()},
      {"sendfile64", keeping_errno<suspending_sendfile>()},
  };
}

}  // namespace blocking
