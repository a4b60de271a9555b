#include "plugin/loop/io_loop.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace loop {
namespace {

// A loop that is never idle still gets to its idle callbacks.
constexpr int kTurnsIdleWaitsMax = 16;

struct ev_loop* new_loop() {
  if (!libev_error().empty()) throw std::runtime_error("libev cannot be used: " + libev_error());
  struct ev_loop* const made = libev.loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
  if (made == nullptr) throw std::runtime_error("the kernel gives no epoll descriptor");
  return made;
}

}  // namespace

IoLoop::IoLoop() : loop_(new_loop()), posted_watcher_(loop_.get(), this) {
  libev.set_userdata(loop_.get(), this);
  libev.set_loop_release_cb(loop_.get(), &on_release, &on_acquire);
  posted_watcher_.start();
}

IoLoop::~IoLoop() = default;

void IoLoop::run() noexcept {
  stopping_ = false;
  while (!stopping_) turn();
}

void IoLoop::turn() noexcept {
  if (observer_) observer_->turning();
  ready_.run();
  poll(ready_.empty() && idle_.empty() && !stopping_);
  run_one_idle_callback();
}

// libev sleeps until the first deadline or event, runs what is due, then what is ready. With
// callbacks waiting it only looks; so too where calls are still queued from a turn that this
// one is inside of, for libev makes those before it sleeps, and they may be what is waited for.
void IoLoop::poll(bool may_sleep) noexcept {
  const bool calls_queued = libev.pending_count(loop_.get()) != 0;
  // libev would make these before it polls, and they may close what the check has found open.
  if (calls_queued) libev.invoke_pending(loop_.get());
  may_sleep_ = !registrations_.check() && may_sleep && !calls_queued;
  libev.run(loop_.get(), may_sleep_ ? EVRUN_ONCE : EVRUN_NOWAIT);
  registrations_.tell_refused();
}

void IoLoop::run_one_idle_callback() noexcept {
  const bool postponed = std::exchange(idle_postponed_, false);
  if (idle_.empty()) return;
  if ((postponed || !ready_.empty()) && ++turns_idle_waited_ < kTurnsIdleWaitsMax) return;
  turns_idle_waited_ = 0;
  const Callback callback = idle_.front();
  idle_.pop_front();
  callback.function(callback.argument);
}

void IoLoop::drop(const Part& part) noexcept {
  const auto where =
      std::find_if(parts_.begin(), parts_.end(), [&part](const auto& kept) { return kept.get() == &part; });
  if (where == parts_.end()) return;
  const std::unique_ptr<Part> dropped = std::move(*where);  // It may look for itself as it ends.
  parts_.erase(where);
}

void IoLoop::add_callback_threadsafe(Callback callback) {
  // Sent with the lock held: once the callback has run, the loop may be gone.
  const std::lock_guard<std::mutex> lock(posted_mutex_);
  posted_.push_back(callback);
  posted_watcher_.send();
}

void IoLoop::take_posted() noexcept {
  std::vector<Callback> batch;
  {
    const std::lock_guard<std::mutex> lock(posted_mutex_);
    batch.swap(posted_);
  }
  for (const Callback& callback : batch) callback.function(callback.argument);
}

// libev calls these round every poll, also one that only looks.
void IoLoop::on_release(struct ev_loop* loop) noexcept {
  auto* self = static_cast<IoLoop*>(libev.userdata(loop));
  if (self->may_sleep_ && self->observer_) self->observer_->falling_asleep();
}

void IoLoop::on_acquire(struct ev_loop* loop) noexcept {
  auto* self = static_cast<IoLoop*>(libev.userdata(loop));
  if (self->may_sleep_ && self->observer_) self->observer_->awake();
}

}  // namespace loop
