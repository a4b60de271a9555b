// Whether the client of a request is still there.
#pragma once

#include <sys/socket.h>

#include <cerrno>

#include "plugin/fetch/fiber_wait.h"
#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"

namespace python {

// Wakes the one that waits when its client closes the connection. A client that sends more (a body,
// the next request) cannot be watched further: what it sent is not ours to read.
class ClientWatch {
 public:
  ClientWatch(loop::IoLoop& loop, int fd, FiberWait& fiber) noexcept : fiber_(fiber), readable_(loop.raw(), this) {
    if (fd >= 0) readable_.start(fd, EV_READ);
  }
  bool is_gone() const noexcept { return is_gone_; }

 private:
  void on_readable(int) noexcept {
    char byte;
    const ssize_t size = recv(readable_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    readable_.stop();
    is_gone_ = size <= 0;
    if (is_gone_) fiber_.wake();  // Which may be the end of this.
  }

  FiberWait& fiber_;
  bool is_gone_ = false;
  loop::IoWatcher<ClientWatch, &ClientWatch::on_readable> readable_;
};

}  // namespace python
