// uWSGI's signals and the process's own, served by the loop.
#pragma once

#include "plugin/loop/watcher.h"

namespace engine {

class Engine;

// Runs the handlers of uWSGI signals (timers, cron, file monitors, uwsgi.signal()) as they
// arrive, each on a side thread: a handler may wait and costs no core. SIGHUP drains the worker.
class Signals {
 public:
  explicit Signals(Engine& engine) noexcept;
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  void start() noexcept;
  // No more uWSGI signals are taken; handlers that run go on.
  void stop() noexcept;

 private:
  void on_signal_socket(int) noexcept;
  void on_my_signal_socket(int) noexcept;
  void on_hangup() noexcept;
  void handle(int* signal_socket) noexcept;

  Engine& engine_;
  loop::IoWatcher<Signals, &Signals::on_signal_socket> shared_;
  loop::IoWatcher<Signals, &Signals::on_my_signal_socket> own_;
  loop::SignalWatcher<Signals, &Signals::on_hangup> hangup_;
};

}  // namespace engine
