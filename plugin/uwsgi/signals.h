// uWSGI's signals and the process's own, served by the loop.
#pragma once

#include <memory>
#include <vector>

#include "plugin/loop/watcher.h"
#include "plugin/uwsgi/request_thread.h"

namespace engine {

class Engine;

// Runs the handlers of uWSGI signals (timers, cron, file monitors, uwsgi.signal()) as they
// arrive, each on a virtual thread with a request of its own to stand on: a handler may wait
// and costs no core. SIGHUP drains the worker.
class Signals {
 public:
  explicit Signals(Engine& engine) noexcept;
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  void start() noexcept;
  // No more uWSGI signals are taken; handlers that run go on.
  void stop() noexcept;
  // Handlers that have not ended.
  int running() const noexcept { return running_; }

 private:
  struct Handler;

  void on_signal_socket(int) noexcept;
  void on_my_signal_socket(int) noexcept;
  void on_hangup() noexcept;
  void handle(int signal_socket) noexcept;

  Engine& engine_;
  loop::IoWatcher<Signals, &Signals::on_signal_socket> shared_;
  loop::IoWatcher<Signals, &Signals::on_my_signal_socket> own_;
  loop::SignalWatcher<Signals, &Signals::on_hangup> hangup_;
  std::vector<std::unique_ptr<Handler>> handlers_;
  std::vector<Handler*> free_handlers_;
  int running_ = 0;
};

}  // namespace engine
