#include "plugin/request/async_wait.h"

#include <algorithm>
#include <cassert>
#include <climits>
#include <cmath>
#include <cstdlib>

#include "plugin/request/request_host.h"
#include "plugin/request/request_thread.h"

namespace engine {

AsyncWait::AsyncWait(RequestThread& thread) noexcept : thread_(thread), timer_(thread.loop().raw(), this) {}

bool AsyncWait::asked() const noexcept {
  const wsgi_request& request = *thread_.request();
  return request.waiting_fds != nullptr || request.async_timeout != nullptr || !rested_.empty();
}

void AsyncWait::sleep_for(double seconds) noexcept {
  if (!(seconds > 0) || thread_.request()->async_timeout != nullptr) return;
  // uWSGI's own timer says that the request waits, deadline_ how long.
  async_add_timeout(thread_.request(), static_cast<int>(std::min(std::ceil(seconds), double{INT_MAX})));
  deadline_ = loop::Deadline::after(seconds);
}

// uWSGI notes the whole second in which a wait of whole seconds ends, not the seconds. What
// the clock said as the turn began tells them; it may say a second too many, never too few.
double AsyncWait::left_s() const noexcept {
  if (!deadline_.is_never()) return deadline_.left_s();
  return std::max(0.0, static_cast<double>(thread_.request()->async_timeout->value) -
                           static_cast<double>(RequestHost::turn_second()));
}

void AsyncWait::park() noexcept {
  assert(RequestThread::current() == &thread_);
  look_at_rested();
  const bool was_interrupted = thread_.task().interrupt().in_force();
  if (was_interrupted) forget();
  // Interrupted before, it still lets the others have their turn.
  suspend::Baton baton(thread_.fiber(), "event",
                       was_interrupted ? suspend::Abort::kNever : suspend::Abort::kAllowed);
  baton_ = &baton;
  if (!asked()) baton.post_next_turn();
  else if (thread_.request()->async_timeout != nullptr) timer_.start(left_s());
  const suspend::Woken woken = baton.wait();
  baton_ = nullptr;
  timer_.stop();
  if (woken == suspend::Woken::kInterrupted) forget();
}

void AsyncWait::resume_next_turn() noexcept {
  if (baton_ != nullptr && !asked()) baton_->post_next_turn();
}

void AsyncWait::on_ready(int fd) noexcept {
  if (baton_ == nullptr) {
    rest(fd);
    return;
  }
  wsgi_request* const request = thread_.request();
  request->async_timed_out = 0;  // A wait before this one may have timed out unseen.
  request->async_ready_fd = 1;
  request->async_last_ready_fd = fd;
  forget();
  resume_next_turn();
}

void AsyncWait::on_timeout() noexcept {
  thread_.request()->async_timed_out = 1;
  forget();
  resume_next_turn();
}

// The request has asked and does something else first: a ready descriptor left in the queue would
// wake the loop again and again, and what it is ready for may be gone when the request waits.
void AsyncWait::rest(int fd) noexcept {
  for (uwsgi_async_fd** link = &thread_.request()->waiting_fds; *link != nullptr; link = &(*link)->next) {
    uwsgi_async_fd* const asked_for = *link;
    if (asked_for->fd != fd) continue;
    rested_.push_back({fd, asked_for->event});
    event_queue_del_fd(uwsgi.async_queue, fd, asked_for->event);
    uwsgi.async_waiting_fd_table[fd] = nullptr;
    *link = asked_for->next;
    if (asked_for->next != nullptr) asked_for->next->prev = asked_for->prev;
    free(asked_for);
    return;
  }
}

void AsyncWait::look_at_rested() noexcept {
  for (const Rested& rested : rested_) {
    const auto add = rested.event == event_queue_read() ? async_add_fd_read : async_add_fd_write;
    add(thread_.request(), rested.fd, 0);
  }
  rested_.clear();
}

void AsyncWait::forget() noexcept {
  async_reset_request(thread_.request());
  deadline_ = loop::Deadline::never();
}

void AsyncWait::end() noexcept {
  rested_.clear();
  forget();
}

}  // namespace engine
