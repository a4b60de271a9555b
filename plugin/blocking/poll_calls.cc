
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <algorithm>
#include <cerrno>

#include "plugin/blocking/descriptors.h"
#include "plugin/blocking/fd_retry.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/tally.h"
#include "plugin/blocking/wait.h"

// Every replacement below has the contract of the call it is named after (its manual
// page); where it may not suspend it is that call. None tells by errno that it waited.

namespace blocking {
namespace {

using suspend::Fiber;

Tally poll_tally("poll");
Tally select_tally("select");
Tally pselect_tally("pselect");
Tally epoll_wait_tally("epoll_wait");

// False where the call only looks, or fails.
bool may_wait(const timespec* timeout) noexcept {
  return timeout == nullptr || (loop::is_valid(*timeout) && loop::to_ns(*timeout) > 0);
}

// Looks, then waits and looks again until something is ready or the deadline passes.
// look() must not block; it returns what the call returns, as does ended() when a descriptor
// was closed meanwhile, or the fiber interrupted.
template <typename Look, typename WaitFor, typename Ended>
int look_and_wait(Fiber& fiber, Tally& tally, Deadline deadline, Look look, WaitFor wait_until, Ended ended) {
  for (int in_vain = 0;; ++in_vain) {
    const int ready = look();
    if (ready != 0 || deadline.passed()) return ready;
    ++tally.suspended;
    // The event (a hang-up, say) need not be one that was asked for, so do not spin on it.
    if (in_vain > 1) sleep_until(fiber, deadline.sooner(Deadline::after(kMomentS)));
    const Woken woken = wait_until(deadline);
    if (woken == Woken::kTimedOut) return look();
    if (woken == Woken::kClosed || woken == Woken::kInterrupted) return ended(woken);
  }
}

int error_of(Woken woken) noexcept {
  errno = woken == Woken::kInterrupted ? kInterruptedErrno : EBADF;
  return -1;
}

int suspending_ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout,
                     const sigset_t* mask) noexcept {
  Fiber* fiber = may_wait(timeout) ? may_suspend() : nullptr;
  if (fiber == nullptr)
    return natively(poll_tally, [&] { return libc::ppoll(descriptors, count, timeout, mask); });
  // `mask` governs signals while the thread sleeps; a suspended fiber gets none.
  const Deadline deadline = Deadline::after_or_never(timeout);
  return look_and_wait(
      *fiber, poll_tally, deadline, [&] { return libc::poll(descriptors, count, 0); },
      [&](Deadline until) { return wait_for(*fiber, descriptors, count, until); },
      [&](Woken woken) {
        if (woken == Woken::kInterrupted) return error_of(woken);
        return static_cast<int>(std::count_if(descriptors, descriptors + count,
                                              [](const pollfd& one) { return one.revents != 0; }));
      });
}

int suspending_poll(pollfd* descriptors, nfds_t count, int timeout_ms) noexcept {
  if (timeout_ms == 0) return libc::poll(descriptors, count, 0);
  if (timeout_ms < 0) return suspending_ppoll(descriptors, count, nullptr, nullptr);
  const timespec timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
  return suspending_ppoll(descriptors, count, &timeout, nullptr);
}

// The bits of its sets that select() may look at. Up to FD_SETSIZE the sets are fd_sets; beyond, they need
// not be larger than the table of descriptors, which is where the kernel stops.
int bits_looked_at(int count) noexcept {
  return count <= FD_SETSIZE ? count : std::min(count, descriptor_table_size());
}

// The three sets of select(2), which may be larger than fd_set when nfds says so.
class Sets {
 public:
  Sets(int count, fd_set* read, fd_set* write, fd_set* except)
      : count_(bits_looked_at(count)), sets_{read, write, except} {
    for (int i = 0; i < 3; ++i) {
      if (sets_[i] != nullptr) wanted_[i].assign(words(sets_[i]), words(sets_[i]) + word_count());
    }
  }

  // A select() that fails leaves its sets as they were.
  void put_back() {
    for (int i = 0; i < 3; ++i) {
      if (sets_[i] != nullptr) std::copy(wanted_[i].begin(), wanted_[i].end(), words(sets_[i]));
    }
  }

  // Non-blocking; the sets then say what is ready.
  int look() {
    put_back();
    timeval none{};
    return libc::select(count_, sets_[0], sets_[1], sets_[2], &none);
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
    return (static_cast<unsigned long>(wanted_[set][static_cast<std::size_t>(fd / kBits)]) >> (fd % kBits) &
            1UL) != 0;
  }

  const int count_;
  fd_set* sets_[3];
  std::vector<Word> wanted_[3];
};

int select_until(Fiber& fiber, Tally& tally, int count, fd_set* read, fd_set* write, fd_set* except,
                 Deadline deadline) {
  Sets sets(count, read, write, except);
  std::vector<pollfd> descriptors = sets.descriptors();
  return look_and_wait(
      fiber, tally, deadline, [&] { return sets.look(); },
      [&](Deadline until) { return wait_for(fiber, descriptors.data(), descriptors.size(), until); },
      [&](Woken woken) {
        sets.put_back();
        return error_of(woken);
      });
}

int suspending_select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) noexcept {
  const bool only_looks = timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_usec == 0;
  const bool invalid = count < 0 || (timeout != nullptr && (timeout->tv_sec < 0 || timeout->tv_usec < 0));
  Fiber* fiber = only_looks || invalid ? nullptr : may_suspend();
  if (fiber == nullptr)
    return natively(select_tally, [&] { return libc::select(count, read, write, except, timeout); });
  const Deadline deadline =
      timeout == nullptr ? Deadline::never() : Deadline::after({timeout->tv_sec, timeout->tv_usec * 1000L});
  const int ready = select_until(*fiber, select_tally, count, read, write, except, deadline);
  if (timeout != nullptr) {
    // Linux says how much of the timeout was left (select(2)).
    const double left_s = deadline.left_s();
    timeout->tv_sec = static_cast<time_t>(left_s);
    timeout->tv_usec = static_cast<suseconds_t>((left_s - static_cast<double>(timeout->tv_sec)) * 1e6);
  }
  return ready;
}

int suspending_pselect(int count, fd_set* read, fd_set* write, fd_set* except, const timespec* timeout,
                       const sigset_t* mask) noexcept {
  Fiber* fiber = count >= 0 && may_wait(timeout) ? may_suspend() : nullptr;
  if (fiber == nullptr)
    return natively(pselect_tally, [&] { return libc::pselect(count, read, write, except, timeout, mask); });
  const Deadline deadline = Deadline::after_or_never(timeout);
  return select_until(*fiber, pselect_tally, count, read, write, except, deadline);
}

int epoll_until(Fiber& fiber, int epoll, epoll_event* events, int count, Deadline deadline) {
  return look_and_wait(
      fiber, epoll_wait_tally, deadline, [&] { return libc::epoll_wait(epoll, events, count, 0); },
      [&](Deadline until) { return wait_for(fiber, epoll, POLLIN, until); }, error_of);
}

int suspending_epoll_pwait(int epoll, epoll_event* events, int count, int timeout_ms,
                           const sigset_t* mask) noexcept {
  Fiber* fiber = timeout_ms == 0 ? nullptr : may_suspend();
  if (fiber == nullptr)
    return natively(epoll_wait_tally,
                    [&] { return libc::epoll_pwait(epoll, events, count, timeout_ms, mask); });
  return epoll_until(*fiber, epoll, events, count, Deadline::after_or_never(timeout_ms * 1e-3));
}

int suspending_epoll_pwait2(int epoll, epoll_event* events, int count, const timespec* timeout,
                            const sigset_t* mask) noexcept {
  Fiber* fiber = may_wait(timeout) ? may_suspend() : nullptr;
  if (fiber == nullptr)
    return natively(epoll_wait_tally,
                    [&] { return libc::epoll_pwait2(epoll, events, count, timeout, mask); });
  return epoll_until(*fiber, epoll, events, count, Deadline::after_or_never(timeout));
}

int suspending_epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms) noexcept {
  return suspending_epoll_pwait(epoll, events, count, timeout_ms, nullptr);
}

// What _FORTIFY_SOURCE makes of a call whose array's size the compiler knows. One that is too small ends the
// process in libc's way.
int suspending_poll_chk(pollfd* descriptors, nfds_t count, int timeout_ms, std::size_t room) noexcept {
  if (room / sizeof *descriptors < count) return libc::poll_chk(descriptors, count, timeout_ms, room);
  return suspending_poll(descriptors, count, timeout_ms);
}

int suspending_ppoll_chk(pollfd* descriptors, nfds_t count, const timespec* timeout, const sigset_t* mask,
                         std::size_t room) noexcept {
  if (room / sizeof *descriptors < count) return libc::ppoll_chk(descriptors, count, timeout, mask, room);
  return suspending_ppoll(descriptors, count, timeout, mask);
}

}  // namespace

std::vector<Call> poll_calls() {
  std::vector<Call> calls = {
      {"__poll_chk", keeping_errno<suspending_poll_chk>()},
      {"__ppoll_chk", keeping_errno<suspending_ppoll_chk>()},
      {"poll", keeping_errno<suspending_poll>()},
      {"ppoll", keeping_errno<suspending_ppoll>()},
      {"select", keeping_errno<suspending_select>()},
      {"pselect", keeping_errno<suspending_pselect>()},
      {"epoll_wait", keeping_errno<suspending_epoll_wait>()},
      {"epoll_pwait", keeping_errno<suspending_epoll_pwait>()},
  };
  if (libc::epoll_pwait2 != nullptr)
    calls.push_back({"epoll_pwait2", keeping_errno<suspending_epoll_pwait2>()});
  return calls;
}

}  // namespace blocking
