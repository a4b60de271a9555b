#include "plugin/blocking/wait.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <vector>

#include "plugin/blocking/gate.h"
#include "plugin/loop/watcher.h"

namespace blocking {
namespace {

double monotonic_s() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The wait of one fiber for some descriptors and a deadline. Ends once; the fiber goes on
// from the loop.
class Wait {
 public:
  explicit Wait(suspend::Fiber& fiber) noexcept
      : fiber_(fiber), timer_(gate_loop().raw(), this) {}
  ~Wait() { assert(!pending_); }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  void end() noexcept { resumes(fiber_).function(&fiber_); }

  // Ends the wait from the loop instead of here and now.
  void end_soon() noexcept {
    if (pending_) return;
    pending_ = true;
    gate_loop().add_callback({[](void* self) noexcept {
                                static_cast<Wait*>(self)->pending_ = false;
                                static_cast<Wait*>(self)->end();
                              },
                              this});
  }
  bool ending() const noexcept { return pending_; }

  // Returns false when the deadline passed first.
  bool park_until(Deadline deadline) {
    if (!deadline.is_never()) timer_.start(deadline.left_s());
    park(fiber_);
    timer_.stop();
    return !timed_out_;
  }

 private:
  void on_due() noexcept {
    if (pending_) return;
    timed_out_ = true;
    end();
  }

  suspend::Fiber& fiber_;
  loop::TimerWatcher<Wait, &Wait::on_due> timer_;
  bool timed_out_ = false;
  bool pending_ = false;
};

// One descriptor of a Wait. Linked by descriptor, so that a close finds who waits.
class Watched {
 public:
  Watched(Wait& wait, int fd, int events);
  ~Watched() {
    detach();
    count_.fetch_sub(1, std::memory_order_relaxed);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  void fd_is_closing() noexcept {
    detach();
    wait_.end_soon();
  }

  // How many there are; any thread may ask.
  static int count() noexcept { return count_.load(std::memory_order_relaxed); }

  static std::vector<Watched*>& by_fd() {
    static std::vector<Watched*> heads;
    return heads;
  }

 private:
  void on_ready(int) noexcept {
    if (!wait_.ending()) wait_.end();
  }
  void detach() noexcept;

  Wait& wait_;
  const int fd_;
  loop::IoWatcher<Watched, &Watched::on_ready> io_;
  Watched* next_ = nullptr;
  Watched** link_ = nullptr;  // What points at this one.

  static inline std::atomic<int> count_{0};
};

Watched::Watched(Wait& wait, int fd, int events)
    : wait_(wait), fd_(fd), io_(gate_loop().raw(), this) {
  auto& heads = by_fd();
  // The heads are linked to by address: growing them moves the links.
  if (static_cast<std::size_t>(fd) >= heads.size()) {
    heads.resize(std::max<std::size_t>(static_cast<std::size_t>(fd) + 1, heads.size() * 2));
    for (Watched*& head : heads) {
      if (head != nullptr) head->link_ = &head;
    }
  }
  Watched*& head = heads[static_cast<std::size_t>(fd)];
  next_ = head;
  if (next_ != nullptr) next_->link_ = &next_;
  link_ = &head;
  head = this;
  count_.fetch_add(1, std::memory_order_relaxed);
  io_.start(fd, events);
}

void Watched::detach() noexcept {
  io_.stop();
  if (link_ == nullptr) return;
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  link_ = nullptr;
  next_ = nullptr;
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
    if (fd_ >= 0) close(fd_);
  }
  Epoll(const Epoll&) = delete;
  Epoll& operator=(const Epoll&) = delete;

  int fd() const noexcept { return fd_; }
  void add(const pollfd& descriptor) noexcept {
    epoll_event event{};
    // poll's and epoll's bits are the same for every event poll knows.
    event.events = static_cast<std::uint32_t>(descriptor.events);
    event.data.fd = descriptor.fd;
    epoll_ctl(fd_, EPOLL_CTL_ADD, descriptor.fd, &event);
  }

 private:
  const int fd_;
};

bool is_plain(const pollfd& descriptor) noexcept {
  return descriptor.events != 0 && (descriptor.events & ~(kReadEvents | kWriteEvents)) == 0;
}

}  // namespace

Deadline Deadline::after(double seconds) noexcept {
  return Deadline(monotonic_s() + std::max(seconds, 0.0));
}

double Deadline::left_s() const noexcept {
  assert(!is_never());
  return std::max(at_s_ - monotonic_s(), 0.0);
}

bool wait_for(suspend::Fiber& fiber, int fd, short events, Deadline deadline) {
  Wait wait(fiber);
  Watched watched(wait, fd, ev_events(events));
  return wait.park_until(deadline);
}

bool wait_for(suspend::Fiber& fiber, const pollfd* descriptors, nfds_t count, Deadline deadline) {
  if (count == 1 && descriptors->fd >= 0 && is_plain(*descriptors)) {
    return wait_for(fiber, descriptors->fd, descriptors->events, deadline);
  }
  Wait wait(fiber);
  std::unique_ptr<Epoll> rest;
  std::vector<std::unique_ptr<Watched>> watched;
  for (nfds_t i = 0; i < count; ++i) {
    if (descriptors[i].fd < 0) continue;
    if (is_plain(descriptors[i])) {
      watched.push_back(
          std::make_unique<Watched>(wait, descriptors[i].fd, ev_events(descriptors[i].events)));
      continue;
    }
    if (!rest) rest = std::make_unique<Epoll>();
    rest->add(descriptors[i]);
  }
  if (rest && rest->fd() >= 0) {
    watched.push_back(std::make_unique<Watched>(wait, rest->fd(), EV_READ));
  }
  return wait.park_until(deadline);
}

void sleep_until(suspend::Fiber& fiber, Deadline deadline) {
  assert(!deadline.is_never());
  Wait(fiber).park_until(deadline);
}

namespace {

void wake_those_waiting_for(int fd) noexcept {
  auto& heads = Watched::by_fd();
  if (fd < 0 || static_cast<std::size_t>(fd) >= heads.size()) return;
  while (Watched* watched = heads[static_cast<std::size_t>(fd)]) watched->fd_is_closing();
}

}  // namespace

void tell_closing(int fd) noexcept {
  if (gate() == nullptr || Watched::count() == 0) return;
  if (on_loop_thread()) {
    wake_those_waiting_for(fd);
    return;
  }
  gate_loop().add_callback_threadsafe(
      {[](void* number) noexcept {
         wake_those_waiting_for(static_cast<int>(reinterpret_cast<std::intptr_t>(number)));
       },
       reinterpret_cast<void*>(static_cast<std::intptr_t>(fd))});
}

}  // namespace blocking
