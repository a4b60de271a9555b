// uWSGI's signals, served by the loop.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "plugin/loop/watcher.h"

namespace engine {

class Engine;
class RequestThread;

// Runs the handlers of uWSGI signals (timers, cron, file monitors, uwsgi.signal()) as they
// arrive, each on a side thread: a handler may wait and costs no core.
class Signals {
 public:
  explicit Signals(Engine& engine) noexcept;
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  void start() noexcept;
  // No more uWSGI signals are taken; handlers that run go on, waits end.
  void stop() noexcept;

  // Suspends `thread`, the current one, until the uWSGI signal `number`, or any, has reached this
  // worker and its handler has ended. Returns its number; -1 when none will come.
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

  // Of a signal that comes by the clock.
  struct Ticks {
    bool handled = false;  // A handler runs.
    bool waits = false;    // Another came meanwhile.
  };
  std::array<Ticks, 256> ticks_;
};

}  // namespace engine
