// The worker's metrics: worker.N.tornado.*, in memory shared with the master that shows them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "plugin/loop/watcher.h"

namespace engine {

class RequestHost;

// Before the fork. Nothing is measured or shown without --enable-metrics or --tornado-metrics.
void register_metrics() noexcept;

// One metric: its description, and its value as a worker last published it, at most a second ago.
struct ShownMetric {
  const char* name;
  bool is_counter;
  const char* help;
};
std::size_t metric_count() noexcept;
ShownMetric shown_metric(std::size_t metric) noexcept;
// 0 where nothing is measured. `worker` from 1. Any process.
std::int64_t metric_of(int worker, std::size_t metric) noexcept;

// Counts events as they happen, and publishes the counts once a second. On the loop's thread only.
class Metrics {
 public:
  explicit Metrics(RequestHost& host) noexcept;
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void cores_taken(int count) noexcept { cores_peak_ = std::max(cores_peak_, count); }
  // Whether a new connection would be accepted.
  void note_room(bool has_room) noexcept;

  // Called around each turn: at its beginning, and around its poll if that may sleep. In between the loop,
  // its callbacks and its requests work, and all due timers and events wait.
  void turning() noexcept {
    if (on_) note_turn();
  }
  void falling_asleep() noexcept {
    if (on_) note_sleep();
  }
  void awake() noexcept {
    if (on_) note_awake();
  }

 private:
  void note_turn() noexcept;
  void note_sleep() noexcept;
  void note_awake() noexcept;
  void worked_until(double now) noexcept;
  double queue_full_s() const noexcept;
  void show() noexcept;
  void show_load(double now) noexcept;
  void show_requests() noexcept;

  const RequestHost& host_;
  const bool on_;
  loop::TimerWatcher<Metrics, &Metrics::show> timer_;

  int cores_peak_ = 0;
  double full_since_ = 0;  // All times here are monotonic_s(). 0: a core is free.
  double was_full_s_ = 0;  // In earlier periods.

  double shown_at_;
  double work_began_;   // The end of the last poll.
  bool slept_ = false;  // In that poll.
  double fell_asleep_ = 0;
  double slept_s_ = 0;    // Since shown_at_.
  double longest_s_ = 0;  // The longest work since then, and in the second before.
  double longest_before_s_ = 0;
};

}  // namespace engine
