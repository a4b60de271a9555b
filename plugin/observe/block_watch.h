// --tornado-block-warn: names in the log who holds the loop for long without giving way.
#pragma once

#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <thread>

namespace engine {

// The loop says whenever something else has its turn; a watchdog thread looks whether it has been
// the same for too long, and then sends the loop's thread a signal. The handler knows what stands
// there, and writes its name and its Python stack to the log, whoever has the GIL. Once for each
// that holds the loop, with a line when it lets go.
class BlockWatch {
 public:
  // 0: nobody watches. On the loop's thread.
  explicit BlockWatch(double after_s);
  ~BlockWatch();
  BlockWatch(const BlockWatch&) = delete;
  BlockWatch& operator=(const BlockWatch&) = delete;

  // The loop sleeps in its poll; it is awake, but for the GIL. What else has its turn, RequestHost tells.
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
  void watch() noexcept;
  void sleep(std::int64_t ns) noexcept;

  static inline bool on_ = false;

  const std::int64_t after_ns_;
  sem_t bell_;
  std::atomic<bool> stopping_{false};
  std::thread watchdog_;
};

}  // namespace engine
