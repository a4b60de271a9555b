
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <optional>

#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally flock_tally("flock");
Tally fcntl_tally("fcntl");
Tally fsync_tally("fsync");

// Tries to take a lock. Returns nothing if another has it. Most locks are free, and finding that out needs no
// thread.
std::optional<int> unless_locked(int result) noexcept {
  if (result != 0 && (errno == EAGAIN || errno == EACCES)) return std::nullopt;
  return result;
}

int suspending_flock(int fd, int operation) noexcept {
  Fiber* fiber = (operation & LOCK_NB) != 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(flock_tally, [&] { return libc::flock(fd, operation); });
  return offload_wait(
      *fiber, flock_tally, [&] { return libc::flock(fd, operation); },
      [&] { return unless_locked(libc::flock(fd, operation | LOCK_NB)); });
}

// The commands that wait have one that does not, for the same lock.
int without_waiting(int command) noexcept {
  switch (command) {
    case F_SETLKW: return F_SETLK;
    case F_OFD_SETLKW: return F_OFD_SETLK;
    default: return -1;
  }
}

// fcntl's third argument is an int or a pointer, and both travel in a register.
int suspending_fcntl(int fd, int command, ...) noexcept {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const int at_once_command = without_waiting(command);
  Fiber* fiber = at_once_command < 0 ? nullptr : may_suspend();
  if (fiber == nullptr) {
    if (at_once_command < 0) return libc::fcntl(fd, command, argument);
    return natively(fcntl_tally, [&] { return libc::fcntl(fd, command, argument); });
  }
  // The lock belongs to the process (or the open file), so any of its threads may take it.
  return offload_wait(
      *fiber, fcntl_tally, [&] { return libc::fcntl(fd, command, argument); },
      [&] { return unless_locked(libc::fcntl(fd, at_once_command, argument)); });
}

int suspending_lockf(int fd, int command, off_t size) noexcept {
  Fiber* fiber = command == F_LOCK ? may_suspend() : nullptr;
  if (fiber == nullptr) return natively(fcntl_tally, [&] { return libc::lockf(fd, command, size); });
  return offload_wait(
      *fiber, fcntl_tally, [&] { return libc::lockf(fd, command, size); },
      [&] { return unless_locked(libc::lockf(fd, F_TLOCK, size)); });
}

int suspending_fsync(int fd) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(fsync_tally, [&] { return libc::fsync(fd); });
  return offload_work(*fiber, fsync_tally, [&] { return libc::fsync(fd); });
}

int suspending_fdatasync(int fd) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(fsync_tally, [&] { return libc::fdatasync(fd); });
  return offload_work(*fiber, fsync_tally, [&] { return libc::fdatasync(fd); });
}

int suspending_syncfs(int fd) noexcept {
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(fsync_tally, [&] { return libc::syncfs(fd); });
  return offload_work(*fiber, fsync_tally, [&] { return libc::syncfs(fd); });
}

void suspending_sync() noexcept {
  Fiber* fiber = may_suspend();
  const auto call = [] { return libc::sync(), 0; };
  fiber == nullptr ? natively(fsync_tally, call) : offload_work(*fiber, fsync_tally, call);
}

// Without MS_SYNC it writes nothing.
int suspending_msync(void* begin, std::size_t size, int flags) noexcept {
  Fiber* fiber = (flags & MS_SYNC) == 0 ? nullptr : may_suspend();
  if (fiber == nullptr) return natively(fsync_tally, [&] { return libc::msync(begin, size, flags); });
  return offload_work(*fiber, fsync_tally, [&] { return libc::msync(begin, size, flags); });
}

// What a terminal's line has not sent yet may wait for the other side.
int suspending_tcdrain(int fd) noexcept {
  const auto call = [=] { return libc::tcdrain(fd); };
  Fiber* fiber = may_suspend();
  if (fiber == nullptr) return natively(fsync_tally, call);
  return offload(*fiber, fsync_tally, JobKind::kWait, call, call);
}

}  // namespace

std::vector<Call> file_calls() {
  return {
      {"sync", address_of(suspending_sync)},           {"syncfs", address_of(suspending_syncfs)},
      {"msync", address_of(suspending_msync)},         {"tcdrain", address_of(suspending_tcdrain)},
      {"flock", address_of(suspending_flock)},         {"fcntl", address_of(suspending_fcntl)},
      {"fcntl64", address_of(suspending_fcntl)},       {"lockf", address_of(suspending_lockf)},
      {"lockf64", address_of(suspending_lockf)},       {"fsync", address_of(suspending_fsync)},
      {"fdatasync", address_of(suspending_fdatasync)},
  };
}

}  // namespace blocking
