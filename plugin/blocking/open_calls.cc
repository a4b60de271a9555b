
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "plugin/blocking/groups.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/offload.h"
#include "plugin/blocking/tally.h"

namespace blocking {
namespace {

using suspend::Fiber;

Tally open_tally("open");

// /dev/null, /dev/urandom and the like: there at once.
constexpr unsigned int kMemoryDevices = 1;

// Whether the file of that name is one whose opening may have to wait for another process, where a fiber
// asks. errno survives.
bool may_wait(int folder, const char* path, int flags) noexcept {
  if ((flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) != 0 || (flags & O_TMPFILE) == O_TMPFILE || !in_fiber())
    return false;
  const int saved_errno = errno;
  struct stat status;
  const bool known = fstatat(folder, path, &status, (flags & O_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0) == 0;
  errno = saved_errno;
  if (!known) return false;
  const bool fifo = S_ISFIFO(status.st_mode) && (flags & O_ACCMODE) != O_RDWR;
  return fifo || (S_ISCHR(status.st_mode) && major(status.st_rdev) != kMemoryDevices);
}

// A helper waits in the call itself, because opening one end without waiting would wake the other end. The
// opening of other files is work, as reading them is, and not counted as a wait that could not suspend.
template <typename Open>
auto open_with(bool waits, Open open) noexcept {
  if (!waits) return open();
  Fiber* const fiber = may_suspend();
  if (fiber == nullptr) return natively(open_tally, open);
  return offload(*fiber, open_tally, JobKind::kWait, open, open);
}

// The third argument is there only where it means something, and travels in a register.
mode_t mode_of(va_list arguments) noexcept { return va_arg(arguments, mode_t); }

template <const auto& real_open>
int suspending_open(const char* path, int flags, ...) noexcept {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(arguments);
  va_end(arguments);
  return open_with(may_wait(AT_FDCWD, path, flags), [&] { return real_open(path, flags, mode); });
}

template <const auto& real_openat>
int suspending_openat(int folder, const char* path, int flags, ...) noexcept {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(arguments);
  va_end(arguments);
  return open_with(may_wait(folder, path, flags), [&] { return real_openat(folder, path, flags, mode); });
}

int suspending_open_2(const char* path, int flags) noexcept {
  return open_with(may_wait(AT_FDCWD, path, flags), [&] { return libc::open_2(path, flags); });
}

int suspending_openat_2(int folder, const char* path, int flags) noexcept {
  return open_with(may_wait(folder, path, flags), [&] { return libc::openat_2(folder, path, flags); });
}

int suspending_creat(const char* path, mode_t mode) noexcept {
  return open_with(may_wait(AT_FDCWD, path, O_WRONLY), [&] { return libc::creat(path, mode); });
}

// "r", "w" and "a", with a "+" behind them for both.
int flags_of(const char* mode) noexcept {
  if (std::strchr(mode, '+') != nullptr) return O_RDWR;
  return *mode == 'r' ? O_RDONLY : O_WRONLY;
}

template <const auto& real_fopen>
std::FILE* suspending_fopen(const char* path, const char* mode) noexcept {
  return open_with(may_wait(AT_FDCWD, path, flags_of(mode)), [&] { return real_fopen(path, mode); });
}

template <const auto& real_freopen>
std::FILE* suspending_freopen(const char* path, const char* mode, std::FILE* file) noexcept {
  const bool waits = path != nullptr && may_wait(AT_FDCWD, path, flags_of(mode));
  return open_with(waits, [&] { return real_freopen(path, mode, file); });
}

}  // namespace

std::vector<Call> open_calls() {
  return {
      {"open", address_of(suspending_open<libc::open>)},
      {"open64", address_of(suspending_open<libc::open64>)},
      {"openat", address_of(suspending_openat<libc::openat>)},
      {"openat64", address_of(suspending_openat<libc::openat64>)},
      {"__open_2", address_of(suspending_open_2)},
      {"__open64_2", address_of(suspending_open_2)},
      {"__openat_2", address_of(suspending_openat_2)},
      {"__openat64_2", address_of(suspending_openat_2)},
      {"creat", address_of(suspending_creat)},
      {"creat64", address_of(suspending_creat)},
      {"fopen", address_of(suspending_fopen<libc::fopen>)},
      {"fopen64", address_of(suspending_fopen<libc::fopen64>)},
      {"freopen", address_of(suspending_freopen<libc::freopen>)},
      {"freopen64", address_of(suspending_freopen<libc::freopen64>)},
  };
}

}  // namespace blocking
