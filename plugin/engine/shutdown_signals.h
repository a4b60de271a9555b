// The process's own signals that tell a worker to end, and its master to wait no longer.
#pragma once

#include <signal.h>

#include "plugin/loop/watcher.h"

namespace engine {

class Engine;

// SIGHUP, SIGINT, SIGTERM, SIGQUIT, and SIGWINCH from a master that wants fewer workers or a younger
// one: each drains the worker. A second of SIGINT, SIGTERM and SIGQUIT ends it at once, from whatever it
// is doing. A terminal, or a supervisor that signals a whole group, tells master and workers both, and
// the master tells its workers again: what it sends is counted apart from what others send.
class ShutdownSignals {
 public:
  explicit ShutdownSignals(Engine& engine) noexcept;
  ~ShutdownSignals();
  ShutdownSignals(const ShutdownSignals&) = delete;
  ShutdownSignals& operator=(const ShutdownSignals&) = delete;

  void start() noexcept;
  // From a signal handler, on any thread.
  void pass_on() noexcept { told_to_end_.send(); }

 private:
  void on_hangup() noexcept;
  void on_told_to_end() noexcept;
  void on_woken() noexcept;
  void look_whether_unwanted() noexcept;

  Engine& engine_;
  struct sigaction application_;  // The application's handler of SIGWINCH, which terminals send, too.
  loop::SignalWatcher<ShutdownSignals, &ShutdownSignals::on_hangup> hangup_;
  loop::SignalWatcher<ShutdownSignals, &ShutdownSignals::on_woken> woken_;
  loop::AsyncWatcher<ShutdownSignals, &ShutdownSignals::on_told_to_end> told_to_end_;
};

// In the master, in each cycle. uWSGI's master, once told to end, ignores a second signal. This one then
// kills the workers at once, instead of when worker-reload-mercy is over.
void hear_second_end_signal() noexcept;

}  // namespace engine
