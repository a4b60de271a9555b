// Reports when the other end of a connection has closed it.
#pragma once

#include <cstdint>

#include "plugin/loop/io_loop.h"

namespace loop {

// Calls `gone` once, from the loop, when the peer has closed the connection or shut down its sending side;
// the two look alike (EPOLLRDHUP, epoll_ctl(2)). Bytes may still wait to be read.
// Leaving scope ends it. A second watch of the same descriptor at the same time never calls, nor does a watch
// whose own descriptor is closed meanwhile.
class PeerWatch {
 public:
  PeerWatch(IoLoop& loop, Callback gone) noexcept : loop_(loop), gone_(gone) {}
  ~PeerWatch() { stop(); }
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  // REQUIRES: not active. If the kernel cannot watch `fd`, `gone` is never called.
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
