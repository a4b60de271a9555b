// Owning wrappers round libev's registrations. One object owns one ev_*; the
// destructor stops it. libev keeps the address, so a watcher never moves.
#pragma once

#include <ev.h>
#include <fcntl.h>

#include <cassert>

namespace loop {

// Watchers started and not yet stopped, for leak checks. The loop's thread only.
inline int active_watchers = 0;

// Whether one watcher will call again. libev's own flag falls earlier: a timer that is due
// is stopped by libev before it makes its call.
class Activity {
 public:
  void set(bool active) noexcept {
    active_watchers += static_cast<int>(active) - static_cast<int>(active_);
    active_ = active;
  }
  bool get() const noexcept { return active_; }

 private:
  bool active_ = false;
};

// Calls (owner->*Ready)(revents) each time the descriptor is ready, until stopped.
// The member is noexcept: nothing may be thrown into libev.
template <typename Owner, void (Owner::*Ready)(int) noexcept>
class IoWatcher {
 public:
  IoWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop), owner_(owner) {
    ev_init(&io_, &on_ready);
    io_.data = this;
  }
  IoWatcher(const IoWatcher&) = delete;
  IoWatcher& operator=(const IoWatcher&) = delete;
  ~IoWatcher() { stop(); }

  // `events`: EV_READ, EV_WRITE or both. A descriptor that is not open is ready once, with
  // EV_ERROR. REQUIRES: not active.
  void start(int fd, int events) noexcept {
    assert(!active());
    ev_io_set(&io_, fd, events);
    // libev ends the process when it meets a bad descriptor, unless built without assertions.
    if (fcntl(fd, F_GETFD) < 0) ev_feed_event(loop_, &io_, events | EV_ERROR);
    else ev_io_start(loop_, &io_);
    activity_.set(true);
  }
  // Also withdraws a call that libev has queued but not made yet.
  void stop() noexcept {
    ev_io_stop(loop_, &io_);
    activity_.set(false);
  }
  bool active() const noexcept { return activity_.get(); }
  int fd() const noexcept { return io_.fd; }

 private:
  static void on_ready(struct ev_loop*, ev_io* io, int revents) noexcept {
    auto* self = static_cast<IoWatcher*>(io->data);
    self->activity_.set(ev_is_active(io));
    (self->owner_->*Ready)(revents);
  }

  struct ev_loop* const loop_;
  Owner* const owner_;
  ev_io io_;
  Activity activity_;
};

// Calls (owner->*Due)() once, `after_s` seconds from now, unless stopped before.
template <typename Owner, void (Owner::*Due)() noexcept>
class TimerWatcher {
 public:
  TimerWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop), owner_(owner) {
    ev_init(&timer_, &on_due);
    timer_.data = this;
  }
  TimerWatcher(const TimerWatcher&) = delete;
  TimerWatcher& operator=(const TimerWatcher&) = delete;
  ~TimerWatcher() { stop(); }

  // REQUIRES: not active.
  void start(double after_s) noexcept {
    assert(!active());
    // libev counts from the start of the turn; code that ran since must not shorten the wait.
    ev_now_update(loop_);
    ev_timer_set(&timer_, after_s < 0 ? 0 : after_s, 0);
    ev_timer_start(loop_, &timer_);
    activity_.set(true);
  }
  // Also withdraws a call that libev has queued but not made yet.
  void stop() noexcept {
    ev_timer_stop(loop_, &timer_);
    activity_.set(false);
  }
  bool active() const noexcept { return activity_.get(); }

 private:
  static void on_due(struct ev_loop*, ev_timer* timer, int) noexcept {
    auto* self = static_cast<TimerWatcher*>(timer->data);
    self->activity_.set(false);
    (self->owner_->*Due)();
  }

  struct ev_loop* const loop_;
  Owner* const owner_;
  ev_timer timer_;
  Activity activity_;
};

// Calls (owner->*About)() each time the loop is about to poll, until stopped. Whether that poll may
// sleep is settled by then: only a watcher that is started there can keep it from sleeping.
template <typename Owner, void (Owner::*About)() noexcept>
class PrepareWatcher {
 public:
  PrepareWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop) {
    ev_prepare_init(&prepare_, &on_about);
    prepare_.data = owner;
  }
  PrepareWatcher(const PrepareWatcher&) = delete;
  PrepareWatcher& operator=(const PrepareWatcher&) = delete;
  ~PrepareWatcher() { stop(); }

  // Does nothing when active.
  void start() noexcept {
    if (active()) return;
    ev_prepare_start(loop_, &prepare_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!active()) return;
    ev_prepare_stop(loop_, &prepare_);
    --active_watchers;
  }
  bool active() const noexcept { return ev_is_active(&prepare_); }

 private:
  static void on_about(struct ev_loop*, ev_prepare* prepare, int) noexcept {
    (static_cast<Owner*>(prepare->data)->*About)();
  }

  struct ev_loop* const loop_;
  ev_prepare prepare_;
};

// Calls (owner->*Sent)() on the loop's thread after send() on any thread.
// Several sends before the loop looks are one call.
template <typename Owner, void (Owner::*Sent)() noexcept>
class AsyncWatcher {
 public:
  AsyncWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop) {
    ev_async_init(&async_, &on_sent);
    async_.data = owner;
  }
  AsyncWatcher(const AsyncWatcher&) = delete;
  AsyncWatcher& operator=(const AsyncWatcher&) = delete;
  ~AsyncWatcher() { stop(); }

  void start() noexcept {
    assert(!ev_is_active(&async_));
    ev_async_start(loop_, &async_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!ev_is_active(&async_)) return;
    ev_async_stop(loop_, &async_);
    --active_watchers;
  }
  // Any thread; also a signal handler.
  void send() noexcept { ev_async_send(loop_, &async_); }

 private:
  static void on_sent(struct ev_loop*, ev_async* async, int) noexcept {
    (static_cast<Owner*>(async->data)->*Sent)();
  }

  struct ev_loop* const loop_;
  ev_async async_;
};

// Calls (owner->*Caught)() on the loop's thread after the process got `signal_number`.
template <typename Owner, void (Owner::*Caught)() noexcept>
class SignalWatcher {
 public:
  SignalWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop) {
    ev_init(&signal_, &on_caught);
    signal_.data = owner;
  }
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;
  ~SignalWatcher() { stop(); }

  void start(int signal_number) noexcept {
    assert(!ev_is_active(&signal_));
    ev_signal_set(&signal_, signal_number);
    ev_signal_start(loop_, &signal_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!ev_is_active(&signal_)) return;
    ev_signal_stop(loop_, &signal_);
    --active_watchers;
  }

 private:
  static void on_caught(struct ev_loop*, ev_signal* signal, int) noexcept {
    (static_cast<Owner*>(signal->data)->*Caught)();
  }

  struct ev_loop* const loop_;
  ev_signal signal_;
};

}  // namespace loop
