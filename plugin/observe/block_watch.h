// --tornado-block-warn: logs code that holds the loop for long without giving way.
#pragma once

#include <cstdint>

#include "plugin/python/watchdog.h"

namespace engine {

// The loop notes whenever another request or callback gets its turn. The watchdog checks whether one has
// run for too long, and logs its name and Python stack: once for each, with another line when it lets
// go.
//
// If it has released the GIL, the watchdog takes the GIL and names it, without interrupting any library
// call. Only if it keeps the GIL is it sent a signal, whose handler names it.
class BlockWatch final : public python::Watchdog::Duty {
 public:
  // 0: nobody watches. On the loop's thread.
  BlockWatch(double after_s, python::Watchdog& watchdog);
  // The watchdog has been stopped.
  ~BlockWatch();
  BlockWatch(const BlockWatch&) = delete;
  BlockWatch& operator=(const BlockWatch&) = delete;

  // The loop sleeps in its poll, or waits for the GIL after it. RequestHost tells what runs otherwise.
  static void asleep() noexcept {
    if (on_) note_asleep();
  }
  static void wants_gil() noexcept {
    if (on_) note_wants_gil();
  }

  // Nobody watches any more; nor in a child that the worker forked.
  static void stop_noting() noexcept;

 private:
  static void note_change() noexcept;
  static void note_asleep() noexcept;
  static void note_wants_gil() noexcept;
  std::int64_t look(python::Watchdog& watchdog) override;
  void look_meanwhile() noexcept override;
  bool is_suspect(std::uint64_t turn) const noexcept;

  static inline bool on_ = false;

  const std::int64_t after_ns_;
  std::uint64_t suspected_ = 0;  // The watchdog's: the last turn that was found too long.
};

}  // namespace engine
