#include "plugin/blocking/wait.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "plugin/blocking/real.h"
#include "plugin/blocking/watched.h"

namespace blocking {
namespace {

double monotonic_s() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

constexpr short kReadEvents = POLLIN | POLLRDNORM;
constexpr short kWriteEvents = POLLOUT | POLLWRNORM;

int ev_events(short events) noexcept {
  return ((events & kReadEvents) != 0 ? EV_READ : 0) | ((events & kWriteEvents) != 0 ? EV_WRITE : 0);
}

// libev knows reading and writing only. Urgent data, hang-ups alone and the like are
// left to an epoll descriptor of the wait's own, which polls as readable itself.
class Epoll {
 public:
  Epoll() noexcept : fd_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~Epoll() {
    if (fd_ >= 0) real::close(fd_);
  }
  Epoll(const Epoll&) = delete;
  Epoll& operator=(const Epoll&) = delete;

  int fd() const noexcept { return fd_; }
  // A descriptor may come twice and asks for both then.
  void add(const pollfd& descriptor) {
    const bool known = events_.count(descriptor.fd) != 0;
    epoll_event event{};
    // poll's and epoll's bits are the same for every event poll knows.
    event.events = events_[descriptor.fd] |= static_cast<std::uint32_t>(descriptor.events);
    event.data.fd = descriptor.fd;
    epoll_ctl(fd_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, descriptor.fd, &event);
  }

 private:
  const int fd_;
  std::unordered_map<int, std::uint32_t> events_;
};

bool is_plain(const pollfd& descriptor) noexcept {
  return descriptor.events != 0 && (descriptor.events & ~(kReadEvents | kWriteEvents)) == 0;
}

}  // namespace

Deadline Deadline::after(double seconds) noexcept { return Deadline(monotonic_s() + std::max(seconds, 0.0)); }

double Deadline::left_s() const noexcept {
  assert(!is_never());
  return std::max(at_s_ - monotonic_s(), 0.0);
}

Woken wait_for(suspend::Fiber& fiber, int fd, short events, Deadline deadline) {
  Wait wait(fiber);
  const Watched watched(wait, fd, ev_events(events));
  const bool in_time = wait.park_until(deadline);
  if (watched.closed()) return Woken::kClosed;
  return in_time ? Woken::kReady : Woken::kTimedOut;
}

Woken wait_for(suspend::Fiber& fiber, pollfd* descriptors, nfds_t count, Deadline deadline) {
  Wait wait(fiber);
  std::unique_ptr<Epoll> rest;
  std::vector<std::unique_ptr<Watched>> watched(count);
  for (nfds_t i = 0; i < count; ++i) {
    const pollfd& descriptor = descriptors[i];
    if (descriptor.fd < 0) continue;
    const int events = is_plain(descriptor) ? ev_events(descriptor.events) : 0;
    watched[i] = std::make_unique<Watched>(wait, descriptor.fd, events);
    if (events != 0) continue;
    if (!rest) rest = std::make_unique<Epoll>();
    rest->add(descriptor);
  }
  std::unique_ptr<Watched> watched_rest;
  if (rest && rest->fd() >= 0) watched_rest = std::make_unique<Watched>(wait, rest->fd(), EV_READ);
  const bool in_time = wait.park_until(deadline);
  const auto is_closed = [](const auto& one) { return one && one->closed(); };
  if (std::none_of(watched.begin(), watched.end(), is_closed)) {
    return in_time ? Woken::kReady : Woken::kTimedOut;
  }
  for (nfds_t i = 0; i < count; ++i) descriptors[i].revents = is_closed(watched[i]) ? POLLNVAL : 0;
  return Woken::kClosed;
}

void sleep_until(suspend::Fiber& fiber, Deadline deadline) {
  assert(!deadline.is_never());
  Wait(fiber).park_until(deadline);
}

}  // namespace blocking
