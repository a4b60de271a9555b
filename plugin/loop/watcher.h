// Owning wrappers of libev's watchers. An object owns one ev_* and stops it in its destructor.
// libev keeps the address, so a watcher cannot be moved.
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

// The base of the watchers below: an event of libev that is active from start() to stop() and calls
// (owner->*Called)().
template <typename Event, auto Start, auto Stop, typename Owner, void (Owner::*Called)() noexcept>
class Watcher {
 public:
  Watcher(struct ev_loop* loop, Owner* owner) noexcept : loop_(loop) {
    ev_init(&event_, &on_event);
    event_.data = owner;
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher() { stop(); }

  // REQUIRES: not active.
  void start() noexcept {
    assert(!active());
    (libev.*Start)(loop_, &event_);
    ++active_watchers;
  }
  void stop() noexcept {
    if (!active()) return;
    (libev.*Stop)(loop_, &event_);
    --active_watchers;
  }
  bool active() const noexcept { return ev_is_active(&event_); }

 protected:
  struct ev_loop* const loop_;
  Event event_;

 private:
  static void on_event(struct ev_loop*, Event* event, int) noexcept {
    (static_cast<Owner*>(event->data)->*Called)();
  }
};

// Calls (owner->*About)() each time the loop is about to poll, until stopped. libev has decided by then
// whether the poll may sleep; only a watcher that is started in the call can still prevent that.
template <typename Owner, void (Owner::*About)() noexcept>
using PrepareWatcher = Watcher<ev_prepare, &Libev::prepare_start, &Libev::prepare_stop, Owner, About>;

// Calls (owner->*Sent)() on the loop's thread after send() on any thread.
// Several sends before the loop polls make one call.
template <typename Owner, void (Owner::*Sent)() noexcept>
class AsyncWatcher : public Watcher<ev_async, &Libev::async_start, &Libev::async_stop, Owner, Sent> {
 public:
  using AsyncWatcher::Watcher::Watcher;

  // Any thread; also a signal handler.
  void send() noexcept { libev.async_send(this->loop_, &this->event_); }
};

// Calls (owner->*Caught)() on the loop's thread after the process has received the signal.
template <typename Owner, void (Owner::*Caught)() noexcept>
class SignalWatcher : public Watcher<ev_signal, &Libev::signal_start, &Libev::signal_stop, Owner, Caught> {
 public:
  using SignalWatcher::Watcher::Watcher;

  void start(int signal_number) noexcept {
    ev_signal_set(&this->event_, signal_number);
    SignalWatcher::Watcher::start();
  }
};

}  // namespace loop
