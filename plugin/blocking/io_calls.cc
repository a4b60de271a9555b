#include "plugin/blocking/io_calls.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/wait.h"

// Every replacement below has the contract of the call it is named after (its manual
// page); where it may not suspend it is that call. None tells by errno that it waited.

namespace blocking {
namespace {

using suspend::Fiber;

bool is_nonblocking(int fd) noexcept {
  const int saved_errno = errno;
  const int flags = fcntl(fd, F_GETFL);
  errno = saved_errno;
  return flags < 0 || (flags & O_NONBLOCK) != 0;
}

bool would_block() noexcept { return errno == EAGAIN || errno == EWOULDBLOCK; }

// SO_RCVTIMEO or SO_SNDTIMEO, which bound a blocking call on a socket (socket(7)).
Deadline socket_deadline(int fd, int option) noexcept {
  const int saved_errno = errno;
  timeval limit{};
  socklen_t size = sizeof limit;
  const int result = getsockopt(fd, SOL_SOCKET, option, &limit, &size);
  errno = saved_errno;
  if (result != 0 || (limit.tv_sec == 0 && limit.tv_usec == 0)) return Deadline::never();
  return Deadline::after(static_cast<double>(limit.tv_sec) + static_cast<double>(limit.tv_usec) * 1e-6);
}

// Waits for a descriptor on behalf of a call that would block on it.
class Patience {
 public:
  Patience(Fiber& fiber, int fd, short events) noexcept : fiber_(fiber), fd_(fd), events_(events) {}

  // True when the call is worth another try. False, with errno EAGAIN, when the caller
  // asked not to wait (O_NONBLOCK) or its socket timeout has passed.
  bool wait_again() {
    if (!asked_) {
      asked_ = true;
      if (is_nonblocking(fd_)) patient_ = false;
      else deadline_ = socket_deadline(fd_, events_ == POLLIN ? SO_RCVTIMEO : SO_SNDTIMEO);
    }
    if (patient_) {
      ++counters.io;
      if (wait_for(fiber_, fd_, events_, deadline_)) return true;
    }
    errno = EAGAIN;
    return false;
  }

 private:
  Fiber& fiber_;
  const int fd_;
  const short events_;
  bool asked_ = false;
  bool patient_ = true;
  Deadline deadline_ = Deadline::never();
};

// One message or what a stream has: try(flags) until it no longer would block.
template <typename Try>
ssize_t receive_once(Fiber& fiber, int fd, int flags, Try try_with) {
  Patience patience(fiber, fd, POLLIN);
  for (;;) {
    const ssize_t got = try_with(flags | MSG_DONTWAIT);
    if (got >= 0 || !would_block() || !patience.wait_again()) return got;
  }
}

// All of `size` bytes of a stream, or less at its end or at an error (MSG_WAITALL).
template <typename TryAt>
ssize_t receive_all(Fiber& fiber, int fd, std::size_t size, int flags, TryAt try_at) {
  Patience patience(fiber, fd, POLLIN);
  std::size_t total = 0;
  for (;;) {
    const ssize_t got = try_at(total, flags | MSG_DONTWAIT);
    if (got > 0) total += static_cast<std::size_t>(got);
    if (got == 0 || total == size) return static_cast<ssize_t>(total);
    if (got > 0) continue;
    if (!would_block() || !patience.wait_again()) return total > 0 ? static_cast<ssize_t>(total) : -1;
  }
}

// A blocking send returns once all is queued, or with what was queued before an error.
template <typename TryAt>
ssize_t send_all(Fiber& fiber, int fd, std::size_t size, TryAt try_at) {
  Patience patience(fiber, fd, POLLOUT);
  std::size_t total = 0;
  for (;;) {
    const ssize_t sent = try_at(total);
    if (sent < 0) {
      if (would_block() && patience.wait_again()) continue;
      break;
    }
    total += static_cast<std::size_t>(sent);
    if (total >= size) return static_cast<ssize_t>(total);
    if (is_nonblocking(fd)) break;
  }
  return total > 0 ? static_cast<ssize_t>(total) : -1;
}

ssize_t suspending_recvfrom(int fd, void* buffer, std::size_t size, int flags, sockaddr* from,
                            socklen_t* from_size) noexcept {
  Fiber* fiber = (flags & MSG_DONTWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return recvfrom(fd, buffer, size, flags, from, from_size);
  if ((flags & MSG_WAITALL) != 0 && (flags & MSG_PEEK) == 0 && !is_nonblocking(fd)) {
    return receive_all(*fiber, fd, size, flags, [&](std::size_t at, int with) {
      return recvfrom(fd, static_cast<char*>(buffer) + at, size - at, with, from, from_size);
    });
  }
  return receive_once(*fiber, fd, flags, [&](int with) {
    return recvfrom(fd, buffer, size, with, from, from_size);
  });
}

ssize_t suspending_recv(int fd, void* buffer, std::size_t size, int flags) noexcept {
  return suspending_recvfrom(fd, buffer, size, flags, nullptr, nullptr);
}

ssize_t suspending_recvmsg(int fd, msghdr* message, int flags) noexcept {
  // MSG_WAITALL over several buffers is rare enough to be left to the kernel.
  Fiber* fiber = (flags & (MSG_DONTWAIT | MSG_WAITALL)) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return recvmsg(fd, message, flags);
  return receive_once(*fiber, fd, flags, [&](int with) { return recvmsg(fd, message, with); });
}

ssize_t suspending_sendto(int fd, const void* buffer, std::size_t size, int flags,
                          const sockaddr* to, socklen_t to_size) noexcept {
  Fiber* fiber = (flags & MSG_DONTWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return sendto(fd, buffer, size, flags, to, to_size);
  return send_all(*fiber, fd, size, [&](std::size_t at) {
    return sendto(fd, static_cast<const char*>(buffer) + at, size - at, flags | MSG_DONTWAIT, to,
                  to_size);
  });
}

ssize_t suspending_send(int fd, const void* buffer, std::size_t size, int flags) noexcept {
  return suspending_sendto(fd, buffer, size, flags, nullptr, 0);
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

ssize_t suspending_sendmsg(int fd, const msghdr* message, int flags) noexcept {
  Fiber* fiber = (flags & MSG_DONTWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return sendmsg(fd, message, flags);
  const std::size_t size = total_size(message->msg_iov, message->msg_iovlen);
  return send_all(*fiber, fd, size, [&](std::size_t at) {
    if (at == 0) return sendmsg(fd, message, flags | MSG_DONTWAIT);
    // Control data went out with the first bytes.
    auto rest = remaining(message->msg_iov, message->msg_iovlen, at);
    msghdr next{};
    next.msg_name = message->msg_name;
    next.msg_namelen = message->msg_namelen;
    next.msg_iov = rest.data();
    next.msg_iovlen = rest.size();
    return sendmsg(fd, &next, flags | MSG_DONTWAIT);
  });
}

bool is_ready(int fd, short events) noexcept {
  pollfd descriptor{fd, events, 0};
  return poll(&descriptor, 1, 0) != 0;  // An error is for the call itself to report.
}

// Waits until a pipe, a terminal or the like can be read or written. Regular files
// always can. Returns false where the caller asked not to wait.
bool wait_until_ready(Fiber& fiber, int fd, short events) {
  if (is_ready(fd, events)) return true;
  Patience patience(fiber, fd, events);
  while (patience.wait_again()) {
    if (is_ready(fd, events)) return true;
  }
  return false;
}

ssize_t suspending_read(int fd, void* buffer, std::size_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || size == 0) return read(fd, buffer, size);
  const ssize_t got = receive_once(
      *fiber, fd, 0, [&](int with) { return recv(fd, buffer, size, with); });
  if (got >= 0 || errno != ENOTSOCK) return got;
  if (!wait_until_ready(*fiber, fd, POLLIN)) return -1;
  return read(fd, buffer, size);
}

ssize_t suspending_readv(int fd, const iovec* parts, int count) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return readv(fd, parts, count);
  if (!wait_until_ready(*fiber, fd, POLLIN)) return -1;
  return readv(fd, parts, count);
}

bool is_fifo(int fd) noexcept {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

// A pipe that polls as writable takes PIPE_BUF bytes without blocking (pipe(7)).
ssize_t write_to_pipe(Fiber& fiber, int fd, const char* bytes, std::size_t size) {
  std::size_t total = 0;
  while (total < size) {
    if (!wait_until_ready(fiber, fd, POLLOUT)) break;
    const ssize_t wrote = write(fd, bytes + total, std::min<std::size_t>(size - total, PIPE_BUF));
    if (wrote < 0) break;
    total += static_cast<std::size_t>(wrote);
  }
  return total > 0 ? static_cast<ssize_t>(total) : -1;
}

ssize_t suspending_write(int fd, const void* buffer, std::size_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || size == 0) return write(fd, buffer, size);
  const auto* bytes = static_cast<const char*>(buffer);
  const ssize_t sent = send_all(*fiber, fd, size, [&](std::size_t at) {
    return send(fd, bytes + at, size - at, MSG_DONTWAIT);
  });
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  if (is_fifo(fd) && !is_nonblocking(fd)) return write_to_pipe(*fiber, fd, bytes, size);
  if (!wait_until_ready(*fiber, fd, POLLOUT)) return -1;
  return write(fd, buffer, size);
}

ssize_t suspending_writev(int fd, const iovec* parts, int count) noexcept {
  Fiber* fiber = count <= 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return writev(fd, parts, count);
  const std::size_t size = total_size(parts, static_cast<std::size_t>(count));
  if (size == 0) return writev(fd, parts, count);
  // Sockets take part of it without waiting; pipes take one gathered write.
  const ssize_t sent = send_all(*fiber, fd, size, [&](std::size_t at) {
    auto rest = remaining(parts, static_cast<std::size_t>(count), at);
    msghdr message{};
    message.msg_iov = rest.data();
    message.msg_iovlen = rest.size();
    return sendmsg(fd, &message, MSG_DONTWAIT);
  });
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  if (is_fifo(fd) && !is_nonblocking(fd)) {
    std::vector<char> bytes;
    bytes.reserve(size);
    for (int i = 0; i < count; ++i) {
      const auto* begin = static_cast<const char*>(parts[i].iov_base);
      bytes.insert(bytes.end(), begin, begin + parts[i].iov_len);
    }
    return write_to_pipe(*fiber, fd, bytes.data(), size);
  }
  if (!wait_until_ready(*fiber, fd, POLLOUT)) return -1;
  return writev(fd, parts, count);
}

// Makes a descriptor non-blocking for one call. The flag belongs to the open file, so
// it is put back before anybody else can run.
class NonBlockingForNow {
 public:
  explicit NonBlockingForNow(int fd) noexcept : fd_(fd), flags_(fcntl(fd, F_GETFL)) {
    if (flags_ >= 0) fcntl(fd_, F_SETFL, flags_ | O_NONBLOCK);
  }
  ~NonBlockingForNow() {
    const int saved_errno = errno;
    if (flags_ >= 0) fcntl(fd_, F_SETFL, flags_);
    errno = saved_errno;
  }
  NonBlockingForNow(const NonBlockingForNow&) = delete;
  NonBlockingForNow& operator=(const NonBlockingForNow&) = delete;

 private:
  const int fd_;
  const int flags_;
};

int connect_at_once(int fd, const sockaddr* address, socklen_t size) noexcept {
  const NonBlockingForNow for_now(fd);
  return connect(fd, address, size);
}

// A UNIX socket whose listener's queue is full says EAGAIN and never polls ready for it.
constexpr double kRetryConnectS = 0.005;

int suspending_connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || is_nonblocking(fd)) return connect(fd, address, size);
  const Deadline deadline = socket_deadline(fd, SO_SNDTIMEO);
  for (;;) {
    if (connect_at_once(fd, address, size) == 0) return 0;
    if (errno == EINPROGRESS) break;
    if (errno != EAGAIN) return -1;
    if (deadline.passed()) return -1;
    ++counters.io;
    sleep_until(*fiber, Deadline::after(kRetryConnectS));
  }
  ++counters.io;
  if (!wait_for(*fiber, fd, POLLOUT, deadline)) {
    errno = EINPROGRESS;  // What connect(2) says when SO_SNDTIMEO passes.
    return -1;
  }
  int error = 0;
  socklen_t error_size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0) return -1;
  if (error == 0) return 0;
  errno = error;
  return -1;
}

int suspending_accept4(int fd, sockaddr* peer, socklen_t* peer_size, int flags) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr || is_nonblocking(fd)) return accept4(fd, peer, peer_size, flags);
  Patience patience(*fiber, fd, POLLIN);
  for (;;) {
    int accepted;
    {
      // Another process may take the connection that the poll saw.
      const NonBlockingForNow for_now(fd);
      accepted = accept4(fd, peer, peer_size, flags);
    }
    if (accepted >= 0 || !would_block() || !patience.wait_again()) return accepted;
  }
}

int suspending_accept(int fd, sockaddr* peer, socklen_t* peer_size) noexcept {
  return suspending_accept4(fd, peer, peer_size, 0);
}

// Looks, then waits and looks again until something is ready or the deadline passes.
// look() must not block; it returns what the call returns.
template <typename Look, typename WaitFor>
int look_and_wait(Deadline deadline, Look look, WaitFor wait_until) {
  for (;;) {
    const int ready = look();
    if (ready != 0 || deadline.passed()) return ready;
    ++counters.io;
    if (!wait_until(deadline)) return look();
  }
}

int suspending_ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout,
                     const sigset_t* mask) noexcept {
  const bool only_looks = timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
  Fiber* fiber = only_looks ? nullptr : may_suspend();
  if (fiber == nullptr) return ppoll(descriptors, count, timeout, mask);
  // `mask` governs signals while the thread sleeps; a suspended fiber gets none.
  const Deadline deadline = timeout == nullptr ? Deadline::never() : Deadline::after(*timeout);
  return look_and_wait(
      deadline, [&] { return poll(descriptors, count, 0); },
      [&](Deadline until) { return wait_for(*fiber, descriptors, count, until); });
}

int suspending_poll(pollfd* descriptors, nfds_t count, int timeout_ms) noexcept {
  if (timeout_ms == 0) return poll(descriptors, count, 0);
  if (timeout_ms < 0) return suspending_ppoll(descriptors, count, nullptr, nullptr);
  const timespec timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
  return suspending_ppoll(descriptors, count, &timeout, nullptr);
}

// The three sets of select(2), which may be larger than fd_set when nfds says so.
class Sets {
 public:
  Sets(int count, fd_set* read, fd_set* write, fd_set* except)
      : count_(count), sets_{read, write, except} {
    for (int i = 0; i < 3; ++i) {
      if (sets_[i] != nullptr) wanted_[i].assign(words(sets_[i]), words(sets_[i]) + word_count());
    }
  }

  // Non-blocking; the sets then say what is ready.
  int look() {
    for (int i = 0; i < 3; ++i) {
      if (sets_[i] != nullptr) std::copy(wanted_[i].begin(), wanted_[i].end(), words(sets_[i]));
    }
    timeval none{};
    return select(count_, sets_[0], sets_[1], sets_[2], &none);
  }

  std::vector<pollfd> descriptors() const {
    static constexpr short kEvents[3] = {POLLIN, POLLOUT, POLLPRI};
    std::vector<pollfd> result;
    for (int fd = 0; fd < count_; ++fd) {
      short events = 0;
      for (int i = 0; i < 3; ++i) {
        if (wants(i, fd)) events = static_cast<short>(events | kEvents[i]);
      }
      if (events != 0) result.push_back({fd, events, 0});
    }
    return result;
  }

 private:
  using Word = fd_mask;
  static constexpr int kBits = NFDBITS;

  static Word* words(fd_set* set) noexcept { return reinterpret_cast<Word*>(set); }
  std::size_t word_count() const noexcept { return static_cast<std::size_t>((count_ + kBits - 1) / kBits); }
  bool wants(int set, int fd) const noexcept {
    if (sets_[set] == nullptr) return false;
    return (static_cast<unsigned long>(wanted_[set][static_cast<std::size_t>(fd / kBits)]) >> (fd % kBits) & 1UL) != 0;
  }

  const int count_;
  fd_set* sets_[3];
  std::vector<Word> wanted_[3];
};

int select_until(Fiber& fiber, int count, fd_set* read, fd_set* write, fd_set* except,
                 Deadline deadline) {
  Sets sets(count, read, write, except);
  const std::vector<pollfd> descriptors = sets.descriptors();
  return look_and_wait(
      deadline, [&] { return sets.look(); },
      [&](Deadline until) { return wait_for(fiber, descriptors.data(), descriptors.size(), until); });
}

int suspending_select(int count, fd_set* read, fd_set* write, fd_set* except,
                      timeval* timeout) noexcept {
  const bool only_looks = timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_usec == 0;
  const bool invalid = count < 0 || (timeout != nullptr && (timeout->tv_sec < 0 || timeout->tv_usec < 0));
  Fiber* fiber = only_looks || invalid ? nullptr : may_suspend();
  if (fiber == nullptr) return select(count, read, write, except, timeout);
  const Deadline deadline =
      timeout == nullptr ? Deadline::never()
                         : Deadline::after({timeout->tv_sec, timeout->tv_usec * 1000L});
  const int ready = select_until(*fiber, count, read, write, except, deadline);
  if (timeout != nullptr) {
    // Linux says how much of the timeout was left (select(2)).
    const double left_s = deadline.left_s();
    timeout->tv_sec = static_cast<time_t>(left_s);
    timeout->tv_usec = static_cast<suseconds_t>((left_s - static_cast<double>(timeout->tv_sec)) * 1e6);
  }
  return ready;
}

int suspending_pselect(int count, fd_set* read, fd_set* write, fd_set* except,
                       const timespec* timeout, const sigset_t* mask) noexcept {
  const bool only_looks = timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
  Fiber* fiber = only_looks || count < 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return pselect(count, read, write, except, timeout, mask);
  const Deadline deadline = timeout == nullptr ? Deadline::never() : Deadline::after(*timeout);
  return select_until(*fiber, count, read, write, except, deadline);
}

int suspending_epoll_pwait(int epoll, epoll_event* events, int count, int timeout_ms,
                           const sigset_t* mask) noexcept {
  Fiber* fiber = timeout_ms == 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return epoll_pwait(epoll, events, count, timeout_ms, mask);
  const Deadline deadline = timeout_ms < 0 ? Deadline::never() : Deadline::after(timeout_ms * 1e-3);
  return look_and_wait(
      deadline, [&] { return epoll_wait(epoll, events, count, 0); },
      [&](Deadline until) { return wait_for(*fiber, epoll, POLLIN, until); });
}

int suspending_epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept {
  return suspending_epoll_pwait(epoll, events, count, timeout_ms, nullptr);
}

int waking_close(int fd) noexcept {
  tell_closing(fd);
  return close(fd);
}

int waking_dup2(int from, int to) noexcept {
  if (from != to) tell_closing(to);
  return dup2(from, to);
}

int waking_dup3(int from, int to, int flags) noexcept {
  tell_closing(to);
  return dup3(from, to, flags);
}

}  // namespace

std::vector<Call> io_calls() {
  return {
      {"poll", address_of(suspending_poll)},
      {"ppoll", address_of(suspending_ppoll)},
      {"select", address_of(suspending_select)},
      {"pselect", address_of(suspending_pselect)},
      {"epoll_wait", address_of(suspending_epoll_wait)},
      {"epoll_pwait", address_of(suspending_epoll_pwait)},
      {"recv", address_of(suspending_recv)},
      {"recvfrom", address_of(suspending_recvfrom)},
      {"recvmsg", address_of(suspending_recvmsg)},
      {"send", address_of(suspending_send)},
      {"sendto", address_of(suspending_sendto)},
      {"sendmsg", address_of(suspending_sendmsg)},
      {"read", address_of(suspending_read)},
      {"readv", address_of(suspending_readv)},
      {"write", address_of(suspending_write)},
      {"writev", address_of(suspending_writev)},
      {"connect", address_of(suspending_connect)},
      {"accept", address_of(suspending_accept)},
      {"accept4", address_of(suspending_accept4)},
      {"close", address_of(waking_close)},
      {"dup2", address_of(waking_dup2)},
      {"dup3", address_of(waking_dup3)},
  };
}

}  // namespace blocking
