#include "plugin/observe/harakiri_report.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "plugin/loop/clock.h"
#include "plugin/observe/fiber_dump.h"
#include "plugin/observe/signal_log.h"
#include "plugin/python/py_ref.h"
#include "plugin/request/harakiri.h"
#include "plugin/request/request_host.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/python_bridge.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

// The master looks each second, and kills when the deadline's second is over; from 2.0.22 on as soon as it
// has begun.
constexpr bool kKilledInTheSecond =
    UWSGI_VERSION_BASE > 2 || UWSGI_VERSION_MAJOR > 0 || UWSGI_VERSION_MINOR >= 22;
constexpr double kIntoTheSecondS = kKilledInTheSecond ? 0 : 0.5;
// What a timer may be early.
constexpr double kEarlyS = 0.05;

// So many of those that die with it are named.
constexpr std::size_t kNamedMax = 20;

// How long the master gives a worker for its last words.
constexpr timespec kLastWords{0, 200'000'000};

// The worker's, for its signal handler.
HarakiriReport* asked = nullptr;

// A real-time signal without a common use.
int last_words_signal() noexcept { return SIGRTMAX - 5; }

// In the handler, on the loop's thread. A loop that sleeps reports by itself, unless it has, or unless
// another thread keeps the GIL from it.
void on_last_words(int) noexcept {
  const int error = errno;
  if (RequestHost::asleep()) {
    if (asked != nullptr) asked->ask();
  } else {
    SignalLine line;
    line << "tornado: HARAKIRI: ";
    name_what_runs(line, RequestThread::current());
    line << " runs; its Python stack:\n";
    line.write();
    dump_python_stack();
  }
  errno = error;
}

void log_overdue(RequestThread& thread) noexcept {
  try {
    uwsgi_log("tornado: HARAKIRI: %s exceeded its time limit after %.1f s; its Python stack:\n%s\n",
              title_of(thread).c_str(), thread.age_s(), python_stack_of(thread).c_str());
  } catch (const python::PyError&) {
    report_python_error();
  }
}

void log_others(const std::vector<RequestThread*>& others) noexcept {
  if (others.empty()) return;
  uwsgi_log("tornado: HARAKIRI: %zu more requests of this worker end with it:\n", others.size());
  for (std::size_t i = 0; i < std::min(others.size(), kNamedMax); ++i) {
    uwsgi_log("tornado: HARAKIRI:   %s, %.1f s old\n", title_of(*others[i]).c_str(), others[i]->age_s());
  }
  if (others.size() > kNamedMax) uwsgi_log("tornado: HARAKIRI:   and %zu more\n", others.size() - kNamedMax);
}

}  // namespace

HarakiriReport::HarakiriReport(RequestHost& host) noexcept
    : host_(host), timer_(host.loop().raw(), this), asked_(host.loop().raw(), this) {}

HarakiriReport::~HarakiriReport() { asked = nullptr; }

void HarakiriReport::start() noexcept {
  asked_.start();
  asked = this;
  handle_signal(last_words_signal(), on_last_words);
}

void HarakiriReport::arm() noexcept {
  const time_t earliest = earliest_harakiri();
  if (earliest == 0) return;
  const time_t at = earliest == reported_ ? earliest + 1 : earliest;  // It has been in time after all.
  timer_.start(std::max(0.1, static_cast<double>(at) + kIntoTheSecondS - loop::wall_clock_s()));
}

void HarakiriReport::on_due() noexcept {
  const time_t earliest = earliest_harakiri();
  if (earliest != 0 && static_cast<double>(earliest) + kIntoTheSecondS <= loop::wall_clock_s() + kEarlyS)
    on_asked();
  arm();
}

void HarakiriReport::on_asked() noexcept {
  const time_t earliest = earliest_harakiri();
  if (earliest == 0 || earliest == reported_) return;
  reported_ = earliest;
  report(std::max(earliest, uwsgi_now()));
}

void HarakiriReport::report(long now) noexcept {
  std::vector<RequestThread*> others;
  for (RequestThread* const thread : host_.threads()) {
    const time_t deadline = host_.harakiri_of(*thread);
    if (deadline != 0 && deadline <= now) log_overdue(*thread);
    else others.push_back(thread);
  }
  log_others(others);
}

void ask_for_last_words(int worker) noexcept {
  const pid_t process = uwsgi.workers[worker].pid;
  if (!options().requested || process <= 0) return;
  // Its first thread is the loop's.
  if (syscall(SYS_tgkill, process, process, last_words_signal()) == 0) nanosleep(&kLastWords, nullptr);
}

}  // namespace engine
