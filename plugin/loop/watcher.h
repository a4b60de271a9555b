// Owning wrappers round libev's registrations. One object owns one ev_*; the
// destructor stops it. libev keeps the address, so a watcher never moves.
#pragma once

#include <cassert>

#include "plugin/loop/activity.h"
#include "plugin/loop/io_registration.h"
#include "plugin/loop/libev.h"

namespace loop {

// Calls (owner->*Ready)(revents) each time the descriptor is ready, until stopped.
// The member is noexcept: nothing may be thrown into libev.
template <typename Owner, void (Owner::*Ready)(int) noexcept>
class IoWatcher : public IoRegistration {
 public:
  IoWatcher(struct ev_loop* loop, Owner* owner) noexcept : IoRegistration(loop, &on_ready), owner_(owner) {}

 private:
  static void on_ready(IoRegistration& self, int revents) noexcept {
    (static_cast<IoWatcher&>(self).owner_->*Ready)(revents);
  }

  Owner* const owner_;
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
    libev.now_update(loop_);
    ev_timer_set(&timer_, after_s < 0 ? 0 : after_s, 0);
    libev.timer_start(loop_, &timer_);
    activity_.set(true);
  }
  // Also withdraws a call that libev has queued but not made yet.
  void stop() noexcept {
    libev.timer_stop(loop_, &timer_);
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
    libev.prepare_start(loop_, &prepare_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!active()) return;
    libev.prepare_stop(loop_, &prepare_);
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
    libev.async_start(loop_, &async_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!ev_is_active(&async_)) return;
    libev.async_stop(loop_, &async_);
    --active_watchers;
  }
  // Any thread; also a signal handler.
  void send() noexcept { libev.async_send(loop_, &async_); }

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
    libev.signal_start(loop_, &signal_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!ev_is_active(&signal_)) return;
    libev.signal_stop(loop_, &signal_);
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
