#include "plugin/request/request_host.h"

#include <unistd.h>

#include "plugin/loop/clock.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {

void RequestHost::end_if_child(int status) noexcept {
  if (!in_child_) return;
  uwsgi_log("tornado: process %d, forked by a request, returned into the server and was ended\n", getpid());
  _exit(status);
}

void RequestHost::read_clocks() noexcept {
  turn_second_ = uwsgi_now();
  turn_s_ = loop::monotonic_s();
}

void RequestHost::forget_in_child() noexcept {
  instance_ = nullptr;
  in_child_ = true;
}

}  // namespace engine
