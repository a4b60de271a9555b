// The worker, as seen by its requests and by code that watches them.
#pragma once

#include <cstdint>
#include <ctime>
#include <vector>

#include "plugin/loop/io_loop.h"

namespace engine {

class RequestThread;

// The loop's thread only.
class RequestHost {
 public:
  // Null before the worker serves and in a child of the worker.
  static RequestHost* instance() noexcept { return instance_; }
  // Ends a forked child that returns from the code that forked it: only a copy of that code's stack works
  // there. In the worker it returns.
  static void end_if_child(int status) noexcept;

  loop::IoLoop& loop() noexcept { return loop_; }
  // As the turn began, or its poll ended: what uWSGI's clock said, and monotonic_s().
  static time_t turn_second() noexcept { return turn_second_; }
  static double turn_s() noexcept { return turn_s_; }

  // It sleeps in its poll, or waits for the GIL after it. For signal handlers, too.
  static bool asleep() noexcept { return asleep_; }

  // Each request that runs or waits, then each function outside of any.
  virtual std::vector<RequestThread*> threads() const = 0;
  // The harakiri of what runs on it, of either kind, on uWSGI's clock; 0: none.
  virtual time_t harakiri_of(const RequestThread& thread) const noexcept = 0;

  // Connections that were answered without a request, since the worker began.
  virtual std::uint64_t refused() const noexcept = 0;
  // Called when a request gets a harakiri.
  virtual void harakiri_set() noexcept = 0;

  // To be called when a request resumes or stops, or when it is the loop's turn.
  static void note_switch() noexcept {
    if (on_switch_ != nullptr) on_switch_();
  }
  // Makes tell_switches() call `on_switch`; null for none.
  static void tell_switches(void (*on_switch)() noexcept) noexcept { on_switch_ = on_switch; }

 protected:
  explicit RequestHost(loop::IoLoop& loop) noexcept : loop_(loop) {}
  ~RequestHost() = default;
  RequestHost(const RequestHost&) = delete;
  RequestHost& operator=(const RequestHost&) = delete;

  void serve() noexcept { instance_ = this; }
  static void stop_serving() noexcept { instance_ = nullptr; }
  static void read_clocks() noexcept;
  static void sleeps(bool now) noexcept { asleep_ = now; }
  static void forget_in_child() noexcept;

 private:
  static inline RequestHost* instance_ = nullptr;
  static inline bool in_child_ = false;
  static inline volatile bool asleep_ = false;
  static inline void (*on_switch_)() noexcept = nullptr;
  static inline time_t turn_second_ = 0;
  static inline double turn_s_ = 0;

  loop::IoLoop& loop_;
};

}  // namespace engine
