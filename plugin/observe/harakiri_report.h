// The report before harakiri: which request is over its time, where it stands, and which others die with it.
#pragma once

#include "plugin/loop/watcher.h"

namespace engine {

class RequestHost;

// The master kills a worker in the second after the deadline; the loop reports within that second.
// A worker whose loop does not turn is told by a signal of the master's, whose handler says who runs.
class HarakiriReport {
 public:
  explicit HarakiriReport(RequestHost& host) noexcept;
  HarakiriReport(const HarakiriReport&) = delete;
  HarakiriReport& operator=(const HarakiriReport&) = delete;

  void start() noexcept;
  // There is a deadline to look after.
  void look() noexcept {
    if (!timer_.active()) arm();
  }

 private:
  void arm() noexcept;
  void on_due() noexcept;
  void report(long now) noexcept;

  const RequestHost& host_;
  loop::TimerWatcher<HarakiriReport, &HarakiriReport::on_due> timer_;
  long reported_ = 0;  // The deadline that was.
};

// In the master, which is about to kill that worker.
void ask_for_last_words(int worker) noexcept;

}  // namespace engine
