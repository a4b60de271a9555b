// Runs the handlers of uWSGI signals.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "plugin/loop/watcher.h"

namespace engine {

class Engine;
class RequestThread;

// Runs the handlers of uWSGI signals (timers, cron, file monitors, uwsgi.signal()) as the signals
// arrive. Each handler runs on a virtual thread of its own, so it may wait, and it takes no core.
class Signals {
 public:
  explicit Signals(Engine& engine) noexcept;
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  void start() noexcept;
  // Stops taking uWSGI signals. Handlers that are running continue; calls of wait() return -1.
  void stop() noexcept;

  // Suspends `thread`, the current one, until this worker has received the uWSGI signal `number` (or any
  // signal, for kAny) and its handler has returned. Returns the signal's number, or -1 when the worker stops.
  int wait(RequestThread& thread, int number) noexcept;
  static constexpr int kAny = -1;

 private:
  class Waiter;

  void on_signal_socket(int) noexcept;
  void on_my_signal_socket(int) noexcept;
  void on_dump_wanted() noexcept;
  void handle(int* signal_socket) noexcept;
  void receive(int signal_socket) noexcept;
  void run_handler(std::uint8_t number) noexcept;
  void handle_tick(std::uint8_t number) noexcept;
  void end_waits(int number) noexcept;

  Engine& engine_;
  loop::IoWatcher<Signals, &Signals::on_signal_socket> shared_;
  loop::IoWatcher<Signals, &Signals::on_my_signal_socket> own_;
  loop::SignalWatcher<Signals, &Signals::on_dump_wanted> dump_wanted_;
  std::vector<Waiter*> waiters_;

  // The state of a signal that a timer raises. Ticks that arrive while the handler runs are merged into one.
  struct Ticks {
    bool handled = false;  // The handler is running.
    bool waits = false;    // Another tick arrived meanwhile.
  };
  std::array<Ticks, 256> ticks_;
};

}  // namespace engine
