#include "plugin/loop/peer_watch.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <memory>
#include <new>
#include <utility>

namespace loop {

// libev knows reading and writing only, so closes are told by an epoll descriptor of their own.
class PeerWatch::Part final : public IoLoop::Part {
 public:
  explicit Part(IoLoop& loop) noexcept : fd_(epoll_create1(EPOLL_CLOEXEC)), closes_(loop.raw(), this) {
    if (fd_ >= 0) closes_.start(fd_, EV_READ);
  }
  ~Part() override {
    closes_.stop();
    if (fd_ >= 0) close(fd_);
  }

  bool add(int fd, PeerWatch& watch) noexcept {
    epoll_event event{};
    event.events = EPOLLRDHUP | EPOLLONESHOT;
    event.data.ptr = &watch;
    return epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) == 0;
  }
  void remove(int fd, const PeerWatch& watch) noexcept {
    epoll_ctl(fd_, EPOLL_CTL_DEL, fd, nullptr);
    for (int i = next_; i < count_; ++i) {
      if (events_[static_cast<std::size_t>(i)].data.ptr == &watch) events_[static_cast<std::size_t>(i)].data.ptr = nullptr;
    }
  }

 private:
  // What one tells may end another, or be the turning of the loop that comes by here again.
  void on_closes(int) noexcept {
    if (next_ < count_) return;
    count_ = std::max(0, epoll_wait(fd_, events_.data(), static_cast<int>(events_.size()), 0));
    for (next_ = 0; next_ < count_;) {
      if (auto* const watch = static_cast<PeerWatch*>(events_[static_cast<std::size_t>(next_++)].data.ptr)) watch->on_gone();
    }
  }

  const int fd_;
  std::array<epoll_event, 64> events_{};
  int next_ = 0;
  int count_ = 0;
  IoWatcher<Part, &Part::on_closes> closes_;
};

PeerWatch::Part& PeerWatch::part_of(IoLoop& loop) {
  if (auto* const known = loop.part<Part>()) return *known;
  auto made = std::make_unique<Part>(loop);
  Part& part = *made;
  loop.keep(std::move(made));
  return part;
}

void PeerWatch::start(int fd) noexcept {
  assert(fd_ < 0);
  is_gone_ = false;
  try {
    if (fd >= 0 && part_of(loop_).add(fd, *this)) fd_ = fd;
  } catch (const std::bad_alloc&) {
    // Nobody hears of the close but who reads or writes.
  }
}

void PeerWatch::stop() noexcept {
  if (const int fd = std::exchange(fd_, -1); fd >= 0) part_of(loop_).remove(fd, *this);
}

void PeerWatch::on_gone() noexcept {
  is_gone_ = true;
  stop();
  gone_.function(gone_.argument);  // Which may be the end of this.
}

}  // namespace loop
