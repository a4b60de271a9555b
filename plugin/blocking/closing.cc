#include "plugin/blocking/closing.h"

#include <fcntl.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <vector>

#include "plugin/blocking/close_listener.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/libc.h"

namespace blocking {
namespace {

bool is_open(int fd) noexcept { return libc::fcntl(fd, F_GETFD) >= 0; }

// A descriptor that never becomes ready: a signalfd for no signal.
int never_ready() noexcept {
  sigset_t none;
  sigemptyset(&none);
  return signalfd(-1, &none, SFD_CLOEXEC);
}

// A thread that closes a descriptor must not free its number while the loop watches it:
// libev ends the process when it meets a number that is not open, and takes what comes to a
// file for what came to the one before. So the file is closed, and its number kept, by a
// file that is never ready, until the loop has let go of it.
class KeptNumbers {
 public:
  // Closes the file of `fd`. Returns false when there is nothing to put in its place.
  bool keep(int fd) noexcept {
    if (placeholder() < 0) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      numbers_.push_back(fd);
      count_.store(numbers_.size(), std::memory_order_release);
    }
    if (libc::dup3(placeholder(), fd, O_CLOEXEC) >= 0) return true;
    forget(fd);
    return false;
  }

  // `fd` means another file by now. Returns false when it was not kept.
  bool forget(int fd) noexcept {
    return find(fd, [](int) noexcept {});
  }

  // Makes a kept number free. One that means another file by now is left alone.
  void set_free(int fd) noexcept {
    find(fd, [](int number) noexcept { libc::close(number); });
  }

  // Opened by the first call. Below 0: there was none left.
  static int placeholder() noexcept {
    static const int number = never_ready();
    return number;
  }

  // What a call that closes all there is must leave alone.
  std::vector<int> and_stand_in() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<int> all = numbers_;
    if (placeholder() >= 0) all.push_back(placeholder());
    return all;
  }

  bool has(int fd) noexcept {
    if (count_.load(std::memory_order_acquire) == 0) return false;
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::find(numbers_.begin(), numbers_.end(), fd) != numbers_.end();
  }

 private:
  bool find(int fd, void (*act)(int fd) noexcept) noexcept {
    if (count_.load(std::memory_order_acquire) == 0) return false;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = std::find(numbers_.begin(), numbers_.end(), fd);
    if (found == numbers_.end()) return false;
    numbers_.erase(found);
    count_.store(numbers_.size(), std::memory_order_release);
    act(fd);
    return true;
  }

  std::mutex mutex_;
  std::vector<int> numbers_;
  std::atomic<std::size_t> count_{0};
};

KeptNumbers& kept() noexcept {
  static KeptNumbers* const forever = new KeptNumbers;  // Other threads close until the process ends.
  return *forever;
}

// Wakes, on the loop, the fibers that wait for `fd`, and frees its number if that is kept.
void let_go_later(int fd) noexcept {
  const int saved_errno = errno;
  post_to_loop({[](void* number) noexcept {
                  const int let_go = static_cast<int>(reinterpret_cast<std::intptr_t>(number));
                  CloseListener::let_go_all(let_go);
                  kept().set_free(let_go);
                },
                reinterpret_cast<void*>(static_cast<std::intptr_t>(fd))});
  errno = saved_errno;
}

int close_elsewhere(int fd) noexcept {
  if (!is_open(fd)) return libc::close(fd);
  CloseListener::mark_closed(fd);
  if (!kept().keep(fd)) return libc::close(fd);
  const bool freed = CloseListener::unless_listened(fd, [](int number) noexcept { kept().set_free(number); });
  if (!freed) let_go_later(fd);
  return 0;
}

// False if the closed descriptors are not those that fibers wait for.
bool concerns_waiters() noexcept { return gate() != nullptr && in_own_process(); }

// What dup2 and dup3 have in common once they are sure to put a file at `to`.
template <typename Dup>
int replace(int to, Dup dup) noexcept {
  if (!concerns_waiters()) return dup();
  kept().forget(to);
  CloseListener::mark_closed(to);
  if (on_loop_thread()) {
    // The watchers must be gone before the file is: libev keeps them by number.
    CloseListener::let_go_all(to);
    return dup();
  }
  const int result = dup();
  if (!CloseListener::unless_listened(to, [](int) noexcept {})) let_go_later(to);
  return result;
}

}  // namespace

void prepare_to_close() noexcept { KeptNumbers::placeholder(); }

int close_and_wake(int fd) noexcept {
  if (!concerns_waiters()) return libc::close(fd);
  if (kept().has(fd)) {
    errno = EBADF;  // Another thread has closed it.
    return -1;
  }
  if (!on_loop_thread()) return close_elsewhere(fd);
  CloseListener::mark_closed(fd);
  CloseListener::let_go_all(fd);
  return libc::close(fd);
}

// A dup that will be refused closes nothing.
int dup2_and_wake(int from, int to) noexcept {
  if (from == to || !is_open(from)) return libc::dup2(from, to);
  return replace(to, [&] { return libc::dup2(from, to); });
}

int dup3_and_wake(int from, int to, int flags) noexcept {
  if (from == to || (flags & ~O_CLOEXEC) != 0 || !is_open(from)) return libc::dup3(from, to, flags);
  return replace(to, [&] { return libc::dup3(from, to, flags); });
}

// Numbers that are waited for are closed one by one, what lies between them at once.
int close_range_and_wake(unsigned int first, unsigned int last, int flags) noexcept {
  const bool closes = first <= last && flags == 0;
  if (!closes || !concerns_waiters()) return libc::close_range(first, last, flags);
  std::vector<int> kept_back = kept().and_stand_in();
  const std::vector<int> watched = CloseListener::between(first, last);
  for (const int fd : watched) {
    if (kept().has(fd)) continue;  // Another thread has closed it.
    close_and_wake(fd);
    kept_back.push_back(fd);  // Kept for the loop, or free already.
  }
  std::sort(kept_back.begin(), kept_back.end());
  for (const int fd : kept_back) {
    const auto number = static_cast<unsigned int>(fd);
    if (number < first || number > last) continue;
    if (number > first && libc::close_range(first, number - 1, 0) != 0) return -1;
    first = number + 1;
  }
  return first > last ? 0 : libc::close_range(first, last, 0);
}

void closefrom_and_wake(int first) noexcept {
  close_range_and_wake(static_cast<unsigned int>(std::max(first, 0)), ~0u, 0);
}

}  // namespace blocking
