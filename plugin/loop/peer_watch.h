// Tells when the other end of a connection has closed it.
#pragma once

#include <cstdint>

#include "plugin/loop/io_loop.h"

namespace loop {

// Says so once, from the loop: whatever bytes still wait to be read, and by an end that will send no
// more, too (EPOLLRDHUP, epoll_ctl(2)): who closes and who only shuts down look alike.
// Leaving scope ends it. One at a time for each descriptor: another says nothing.
// A descriptor that is closed meanwhile is one that nothing is heard of.
class PeerWatch {
 public:
  PeerWatch(IoLoop& loop, Callback gone) noexcept : loop_(loop), gone_(gone) {}
  ~PeerWatch() { stop(); }
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  // REQUIRES: not active. Where the kernel will not watch `fd` nothing is ever said.
  void start(int fd) noexcept;
  void stop() noexcept;

  bool is_gone() const noexcept { return is_gone_; }

 private:
  class Part;

  static Part& part_of(IoLoop& loop);
  void on_gone() noexcept;

  IoLoop& loop_;
  const Callback gone_;
  int fd_ = -1;
  std::uint64_t number_ = 0;  // Of this start().
  bool is_gone_ = false;
};

}  // namespace loop
