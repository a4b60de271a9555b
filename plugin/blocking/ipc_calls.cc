
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <optional>
#include <vector>

#include "plugin/blocking/fd_retry.h"
#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally semop_tally("semop");
Tally msgrcv_tally("msgrcv");
Tally msgsnd_tally("msgsnd");
Tally mq_receive_tally("mq_receive");
Tally mq_send_tally("mq_send");
Tally io_getevents_tally("io_getevents");

// What SEM_UNDO undoes belongs to the process: its threads share it, so any of them may take the semaphore.
int suspending_semtimedop(int set, sembuf* operations, std::size_t count, const timespec* timeout) noexcept {
  // More than a system has (SEMOPM) is refused.
  constexpr std::size_t kOperations = 500;
  const auto waits = [](const sembuf& one) { return (one.sem_flg & IPC_NOWAIT) == 0; };
  const bool may_wait =
      count > 0 && count <= kOperations && std::any_of(operations, operations + count, waits);
  const auto call = [&] { return libc::semtimedop(set, operations, count, timeout); };
  Fiber* const fiber = may_wait ? may_suspend() : nullptr;
  if (fiber == nullptr) return natively(semop_tally, call);
  std::vector<sembuf> at_once(operations, operations + count);
  for (sembuf& one : at_once) one.sem_flg = static_cast<short>(one.sem_flg | IPC_NOWAIT);
  return offload_wait(*fiber, semop_tally, call, [&]() -> std::optional<int> {
    const int result = libc::semtimedop(set, at_once.data(), count, nullptr);
    // The kernel says which of them was not to wait.
    if (result != 0 && errno == EAGAIN && std::all_of(operations, operations + count, waits))
      return std::nullopt;
    if (result != 0 && errno == EAGAIN) return call();
    return result;
  });
}

int suspending_semop(int set, sembuf* operations, std::size_t count) noexcept {
  return suspending_semtimedop(set, operations, count, nullptr);
}

ssize_t suspending_msgrcv(int queue, void* message, std::size_t size, long type, int flags) noexcept {
  const auto receive = [&](int with) { return libc::msgrcv(queue, message, size, type, with); };
  Fiber* const fiber = (flags & IPC_NOWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(msgrcv_tally, [&] { return receive(flags); });
  return offload_wait(
      *fiber, msgrcv_tally, [&] { return receive(flags); },
      [&]() -> std::optional<ssize_t> {
        const ssize_t got = receive(flags | IPC_NOWAIT);
        return got < 0 && errno == ENOMSG ? std::nullopt : std::make_optional(got);
      });
}

int suspending_msgsnd(int queue, const void* message, std::size_t size, int flags) noexcept {
  const auto send = [&](int with) { return libc::msgsnd(queue, message, size, with); };
  Fiber* const fiber = (flags & IPC_NOWAIT) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(msgsnd_tally, [&] { return send(flags); });
  return offload_wait(
      *fiber, msgsnd_tally, [&] { return send(flags); },
      [&]() -> std::optional<int> {
        const int result = send(flags | IPC_NOWAIT);
        return result != 0 && errno == EAGAIN ? std::nullopt : std::make_optional(result);
      });
}

// A time that is long over: with it the call does not wait.
constexpr timespec kPast{0, 0};

// A message queue is a descriptor to Linux. call(until) does what it can before `until`.
template <typename Call>
auto queue_call(Tally& tally, int queue, short events, const timespec* until, Call call) noexcept {
  Fiber* const fiber = until == nullptr || loop::is_valid(*until) ? may_suspend() : nullptr;
  if (fiber == nullptr) return natively(tally, [&] { return call(until); });
  const Deadline deadline = until == nullptr ? Deadline::never() : Deadline::at(CLOCK_REALTIME, *until);
  for (;;) {
    const auto result = call(&kPast);
    // EAGAIN: the queue was opened not to wait.
    if (result >= 0 || errno != ETIMEDOUT || deadline.passed()) return result;
    ++tally.suspended;
    const Woken woken = wait_for(*fiber, queue, events, deadline);
    if (woken == Woken::kPosted || woken == Woken::kTimedOut) continue;
    errno = woken == Woken::kClosed ? EBADF : kInterruptedErrno;
    return result;
  }
}

ssize_t suspending_mq_timedreceive(mqd_t queue, char* message, std::size_t size, unsigned int* priority,
                                   const timespec* until) noexcept {
  return queue_call(mq_receive_tally, queue, POLLIN, until, [&](const timespec* within) {
    return within == nullptr ? libc::mq_receive(queue, message, size, priority)
                             : libc::mq_timedreceive(queue, message, size, priority, within);
  });
}

ssize_t suspending_mq_receive(mqd_t queue, char* message, std::size_t size, unsigned int* priority) noexcept {
  return suspending_mq_timedreceive(queue, message, size, priority, nullptr);
}

int suspending_mq_timedsend(mqd_t queue, const char* message, std::size_t size, unsigned int priority,
                            const timespec* until) noexcept {
  return queue_call(mq_send_tally, queue, POLLOUT, until, [&](const timespec* within) {
    return within == nullptr ? libc::mq_send(queue, message, size, priority)
                             : libc::mq_timedsend(queue, message, size, priority, within);
  });
}

int suspending_mq_send(mqd_t queue, const char* message, std::size_t size, unsigned int priority) noexcept {
  return suspending_mq_timedsend(queue, message, size, priority, nullptr);
}

// libaio's, which says by a negative result what went wrong; the library need not be there.
int suspending_io_getevents(void* context, long at_least, long at_most, void* events,
                            timespec* timeout) noexcept {
  const auto call = [&] {
    const int saved_errno = errno;
    const long result = ::syscall(SYS_io_getevents, context, at_least, at_most, events, timeout);
    const int error = errno;
    errno = saved_errno;
    return static_cast<int>(result < 0 ? -error : result);
  };
  const bool only_looks =
      at_least <= 0 || (timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0);
  Fiber* const fiber = only_looks ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(io_getevents_tally, call);
  return offload(*fiber, io_getevents_tally, JobKind::kWait, call, call);
}

}  // namespace

std::vector<Call> ipc_calls() {
  return {
      {"semop", keeping_errno<suspending_semop>()},
      {"semtimedop", keeping_errno<suspending_semtimedop>()},
      {"msgrcv", keeping_errno<suspending_msgrcv>()},
      {"msgsnd", keeping_errno<suspending_msgsnd>()},
      {"mq_receive", keeping_errno<suspending_mq_receive>()},
      {"mq_timedreceive", keeping_errno<suspending_mq_timedreceive>()},
      {"mq_send", keeping_errno<suspending_mq_send>()},
      {"mq_timedsend", keeping_errno<suspending_mq_timedsend>()},
      {"io_getevents", address_of(suspending_io_getevents)},
  };
}

}  // namespace blocking
