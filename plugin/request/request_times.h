// Measures where a request's time goes.
#pragma once

#include <array>
#include <cstdint>

namespace engine {

// The times of one request after another. On the loop's thread.
class RequestTimes {
 public:
  // After the options are parsed. Measured only if asked for: it reads the clock twice a switch.
  static void prepare() noexcept;
  static bool wanted() noexcept { return wanted_; }

  // The request begins, `queued_us` after its connection was accepted.
  void begin(std::int64_t queued_us) noexcept;
  // It resumes. It stops, to wait for `what`, or null if it gave way.
  void runs() noexcept;
  void stops(const char* what) noexcept;

  double queued_ms() const noexcept { return static_cast<double>(queued_us_) * 1e-3; }
  // Until now. REQUIRES: it runs.
  double ran_ms() const noexcept;
  double waited_ms() const noexcept;
  // What it waited for longest; null if it has not waited.
  const char* waited_for() const noexcept;

 private:
  struct Wait {
    const char* what = nullptr;
    std::int64_t ns = 0;
  };

  Wait& wait_for(const char* what) noexcept;

  static inline bool wanted_ = false;

  std::int64_t queued_us_ = 0;
  std::int64_t ran_ns_ = 0;
  std::int64_t runs_since_ns_ = 0;
  std::int64_t stopped_at_ns_ = 0;  // 0: not yet.
  const char* stopped_for_ = nullptr;
  std::array<Wait, 6> waits_;  // Few requests wait for more kinds; the last entry sums up the rest.
};

}  // namespace engine
