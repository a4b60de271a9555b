#include "plugin/loop/peer_watch.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>

namespace loop {

// libev knows reading and writing only, so closes are told by an epoll descriptor of their own.
//
// A closed descriptor is still watched as long as a child that was forked meanwhile has it too
// (epoll(7)), and can be taken out by nobody here. So what epoll tells is a number that is given once,
// and means nobody once its watch has ended.
class PeerWatch::Part final : public IoLoop::Part {
 public:
  explicit Part(IoLoop& loop) noexcept : fd_(epoll_create1(EPOLL_CLOEXEC)), closes_(loop.raw(), this) {
    if (fd_ >= 0) closes_.start(fd_, EV_READ);
  }
  ~Part() override {
    closes_.stop();
    if (fd_ >= 0) close(fd_);
  }

  // The number of this watch; 0 where the kernel refuses. Throws std::bad_alloc.
  std::uint64_t add(int fd, PeerWatch& watch) {
    const std::uint64_t number = ++last_number_;
    epoll_event event{};
    event.events = EPOLLRDHUP | EPOLLONESHOT;
    event.data.u64 = number;
    std::uint64_t& newest = newest_[fd];
    const auto place = watches_.emplace(number, &watch).first;
    if (epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) == 0) return newest = number;
    watches_.erase(place);
    return 0;
  }
  void remove(int fd, std::uint64_t number) noexcept {
    // Otherwise the descriptor is another's by now.
    if (forget(fd, number)) epoll_ctl(fd_, EPOLL_CTL_DEL, fd, nullptr);
  }

 private:
  // True when it was the last for that descriptor.
  bool forget(int fd, std::uint64_t number) noexcept {
    watches_.erase(number);
    const auto newest = newest_.find(fd);
    if (newest == newest_.end() || newest->second != number) return false;
    newest_.erase(newest);
    return true;
  }

  // What one tells may end another, or be the turning of the loop that comes by here again.
  void on_closes(int) noexcept {
    std::array<epoll_event, 64> events;
    const int count = epoll_wait(fd_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const auto told = watches_.find(events[static_cast<std::size_t>(i)].data.u64);
      if (told != watches_.end()) told->second->on_gone();
    }
  }

  const int fd_;
  std::uint64_t last_number_ = 0;
  std::unordered_map<std::uint64_t, PeerWatch*> watches_;
  std::unordered_map<int, std::uint64_t> newest_;
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
    if (fd >= 0 && (number_ = part_of(loop_).add(fd, *this)) != 0) fd_ = fd;
  } catch (const std::bad_alloc&) {
    // Without memory, only code that reads or writes notices the close.
  }
}

void PeerWatch::stop() noexcept {
  if (const int fd = std::exchange(fd_, -1); fd >= 0) part_of(loop_).remove(fd, number_);
}

void PeerWatch::on_gone() noexcept {
  is_gone_ = true;
  stop();
  gone_.function(gone_.argument);  // Which may be the end of this.
}

}  // namespace loop
