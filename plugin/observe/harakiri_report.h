// The report before harakiri: which request exceeded its time, its stack, and which others die with it.
#pragma once

#include "plugin/loop/watcher.h"

namespace engine {

class RequestHost;

// The loop reports before the master looks for expired deadlines: in the middle of the deadline's second or,
// for uWSGI 2.0.22 and later, whose master kills within that second, at its beginning. The master sends a
// signal to a worker that has not reported. The handler wakes the loop or, if the loop does not turn, says
// what runs.
class HarakiriReport {
 public:
  explicit HarakiriReport(RequestHost& host) noexcept;
  HarakiriReport(const HarakiriReport&) = delete;
  HarakiriReport& operator=(const HarakiriReport&) = delete;
  ~HarakiriReport();

  void start() noexcept;
  // There is a deadline to watch.
  void look() noexcept {
    if (!timer_.active()) arm();
  }
  // The worker is about to be killed. For signal handlers.
  void ask() noexcept { asked_.send(); }

 private:
  void arm() noexcept;
  void on_due() noexcept;
  void on_asked() noexcept;
  void report(long now) noexcept;

  const RequestHost& host_;
  loop::TimerWatcher<HarakiriReport, &HarakiriReport::on_due> timer_;
  loop::AsyncWatcher<HarakiriReport, &HarakiriReport::on_asked> asked_;
  long reported_ = 0;  // The deadline last reported.
};

// In the master, which is about to kill that worker.
void ask_for_last_words(int worker) noexcept;

}  // namespace engine
