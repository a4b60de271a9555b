// The descriptors that fibers wait for.
#pragma once

#include "plugin/blocking/close_listener.h"
#include "plugin/blocking/gate.h"
#include "plugin/loop/watcher.h"
#include "suspend/baton.h"

namespace blocking {

// Posts a baton when its descriptor is ready or closed. The loop's thread only.
class Watched final : public CloseListener {
 public:
  // `events` of libev's; 0 to hear only of its closing.
  Watched(suspend::Baton& baton, int fd, int events) : baton_(baton), io_(gate_loop().raw(), this) {
    listen(fd);
    if (events != 0) io_.start(fd, events);
  }

  // The descriptor was ready first.
  bool ready() const noexcept { return ready_; }

 private:
  void on_ready(int) noexcept {
    ready_ = true;
    baton_.post();
  }
  void let_go() noexcept override {
    io_.stop();
    baton_.post_next_turn(closed() ? suspend::Woken::kClosed : suspend::Woken::kPosted);
  }

  suspend::Baton& baton_;
  loop::IoWatcher<Watched, &Watched::on_ready> io_;
  bool ready_ = false;
};

}  // namespace blocking
