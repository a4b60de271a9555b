// Owning wrappers round libev's registrations. One object owns one ev_*; the
// destructor stops it. libev keeps the address, so a watcher never moves.
#pragma once

#include <ev.h>

#include <cassert>

namespace loop {

// Watchers started and not yet stopped, for leak checks. The loop's thread only.
inline int active_watchers = 0;

// Calls (owner->*Ready)(revents) each time the descriptor is ready, until stopped.
// The member is noexcept: nothing may be thrown into libev.
template <typename Owner, void (Owner::*Ready)(int) noexcept>
class IoWatcher {
 public:
  IoWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop) {
    ev_init(&io_, &on_ready);
    io_.data = owner;
  }
  IoWatcher(const IoWatcher&) = delete;
  IoWatcher& operator=(const IoWatcher&) = delete;
  ~IoWatcher() { stop(); }

  // `events`: EV_READ, EV_WRITE or both. REQUIRES: not active.
  void start(int fd, int events) noexcept {
    assert(fd >= 0);
    assert(!active());
    ev_io_set(&io_, fd, events);
    ev_io_start(loop_, &io_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!active()) return;
    ev_io_stop(loop_, &io_);
    --active_watchers;
  }
  bool active() const noexcept { return ev_is_active(&io_); }
  int fd() const noexcept { return io_.fd; }

 private:
  static void on_ready(struct ev_loop*, ev_io* io, int revents) noexcept {
    (static_cast<Owner*>(io->data)->*Ready)(revents);
  }

  struct ev_loop* const loop_;
  ev_io io_;
};

// Calls (owner->*Due)() once, `after_s` seconds from now, unless stopped before.
template <typename Owner, void (Owner::*Due)() noexcept>
class TimerWatcher {
 public:
  TimerWatcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop) {
    ev_init(&timer_, &on_due);
    timer_.data = owner;
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
    ++active_watchers;
  }
  void stop() noexcept {
    if (!active()) return;
    ev_timer_stop(loop_, &timer_);
    --active_watchers;
  }
  bool active() const noexcept { return ev_is_active(&timer_); }

 private:
  static void on_due(struct ev_loop*, ev_timer* timer, int) noexcept {
    --active_watchers;  // libev has stopped a timer without repeat by now.
    (static_cast<Owner*>(timer->data)->*Due)();
  }

  struct ev_loop* const loop_;
  ev_timer timer_;
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
