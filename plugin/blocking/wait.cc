#include "plugin/blocking/wait.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "plugin/blocking/error_numbers.h"
#include "plugin/blocking/kept_back.h"
#include "plugin/blocking/libc.h"
#include "plugin/blocking/registered_sockets.h"
#include "plugin/blocking/watched.h"
#include "plugin/loop/watcher.h"

namespace blocking {
namespace {

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
    if (fd_ >= 0) libc::close(fd_);
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

// poll() reports these whether they are asked for or not, as libev does: libpq asks for POLLERR.
constexpr short kAlwaysReported = POLLERR | POLLHUP | POLLNVAL;

// libev can wait for all that is asked for.
bool is_plain(const pollfd& descriptor) noexcept {
  const int asked = descriptor.events & ~kAlwaysReported;
  return asked != 0 && (asked & ~(kReadEvents | kWriteEvents)) == 0;
}

// Posts a baton, if there is one, when its deadline passes.
class Due {
 public:
  Due(suspend::Baton* baton, Deadline deadline) noexcept : baton_(baton), timer_(gate_loop().raw(), this) {
    if (!deadline.is_never()) timer_.start(deadline.left_s());
  }

 private:
  void on_due() noexcept {
    if (baton_ != nullptr) baton_->post(Woken::kTimedOut);
  }

  suspend::Baton* const baton_;
  loop::TimerWatcher<Due, &Due::on_due> timer_;
};

const char* name_of(short events) noexcept {
  if (events == 0) return "sleep";  // It hears of the close alone.
  return (events & kWriteEvents) != 0 ? "write" : "read";
}

}  // namespace

Woken wait(suspend::Baton& baton, Deadline deadline) noexcept {
  const ErrorNumbers saved = ErrorNumbers::of_this_thread();
  const Due due(&baton, deadline);
  const Woken woken = baton.wait();
  saved.set();
  return woken;
}

void turn(Deadline deadline) noexcept {
  release_kept_back();
  const Due due(nullptr, deadline);
  gate()->turn();
}

void end_turn() noexcept {
  const loop::Callback nothing{[](void*) noexcept {}, nullptr};
  if (on_loop_thread()) gate_loop().add_callback(nothing);
  else post_to_loop(nothing);
}

namespace {

Woken wait_for_one(suspend::Fiber& fiber, const char* what, int fd, int events, Deadline deadline) {
  suspend::Baton baton(fiber, what, Abort::kAllowed, fd);
  if (events != 0) {
    const RegisteredWait registered(baton, fd, events);
    if (registered.registered()) {
      const Woken woken = wait(baton, deadline);
      return registered.closed() ? Woken::kClosed : woken;
    }
  }
  const Watched watched(baton, fd, events);
  const Woken woken = wait(baton, deadline);
  return watched.closed() ? Woken::kClosed : woken;
}

}  // namespace

Woken wait_for(suspend::Fiber& fiber, int fd, short events, Deadline deadline) {
  return wait_for_one(fiber, name_of(events), fd, ev_events(events), deadline);
}

Woken wait_for(suspend::Fiber& fiber, pollfd* descriptors, nfds_t count, Deadline deadline) {
  if (count == 1 && descriptors[0].fd >= 0 && is_plain(descriptors[0])) {
    pollfd& one = descriptors[0];
    const Woken woken = wait_for_one(fiber, "poll", one.fd, ev_events(one.events), deadline);
    if (woken == Woken::kClosed) one.revents = POLLNVAL;
    return woken;
  }
  suspend::Baton baton(fiber, "poll", Abort::kAllowed, count > 0 ? descriptors[0].fd : -1);
  std::unique_ptr<Epoll> rest;
  std::vector<std::unique_ptr<Watched>> watched(count);
  for (nfds_t i = 0; i < count; ++i) {
    const pollfd& descriptor = descriptors[i];
    if (descriptor.fd < 0) continue;
    const int events = is_plain(descriptor) ? ev_events(descriptor.events) : 0;
    watched[i] = std::make_unique<Watched>(baton, descriptor.fd, events);
    if (events != 0) continue;
    if (!rest) rest = std::make_unique<Epoll>();
    rest->add(descriptor);
  }
  std::unique_ptr<Watched> watched_rest;
  if (rest && rest->fd() >= 0) watched_rest = std::make_unique<Watched>(baton, rest->fd(), EV_READ);
  const Woken woken = wait(baton, deadline);
  const auto is_closed = [](const auto& one) { return one && one->closed(); };
  if (std::none_of(watched.begin(), watched.end(), is_closed)) return woken;
  for (nfds_t i = 0; i < count; ++i) descriptors[i].revents = is_closed(watched[i]) ? POLLNVAL : 0;
  return Woken::kClosed;
}

Woken sleep_until(suspend::Fiber& fiber, Deadline deadline) {
  assert(!deadline.is_never());
  suspend::Baton baton(fiber, "sleep", Abort::kAllowed);
  return wait(baton, deadline);
}

}  // namespace blocking
