#include "plugin/observe/metrics.h"

#include <sys/mman.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "plugin/loop/clock.h"
#include "plugin/python/preemption.h"
#include "plugin/request/request_host.h"
#include "plugin/request/request_thread.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

constexpr double kShownEveryS = 1;

enum class Metric {
  kCoresUsed,
  kCoresFree,
  kCoresPeak,
  kRunning,
  kParked,
  kQueueFullMs,
  kRefused,
  kLoopLagUs,
  kBusyPercent,
  kSwitches,
  kPreempted,
  kStackPeak,
  kCount
};

struct Description {
  const char* name;
  std::uint8_t type;
  const char* help;
};

constexpr std::size_t kMetrics = static_cast<std::size_t>(Metric::kCount);

constexpr std::array<Description, kMetrics> kDescriptions = {{
    {"cores_used", UWSGI_METRIC_GAUGE, "Cores that serve a connection."},
    {"cores_free", UWSGI_METRIC_GAUGE, "Cores without a connection."},
    {"cores_peak", UWSGI_METRIC_GAUGE, "The most cores used at once since the worker began."},
    {"running", UWSGI_METRIC_GAUGE, "Requests and functions that run or wait for their turn."},
    {"parked", UWSGI_METRIC_GAUGE, "Requests and functions that wait for something."},
    {"queue_full_ms", UWSGI_METRIC_COUNTER, "Milliseconds for which no core was free."},
    {"refused", UWSGI_METRIC_COUNTER, "Connections refused because no core was free."},
    {"loop_lag_us", UWSGI_METRIC_GAUGE,
     "The worst delay of any timer or event in the last two seconds, in microseconds."},
    {"busy_percent", UWSGI_METRIC_GAUGE, "Share of the last second in which the loop did not sleep."},
    {"switches", UWSGI_METRIC_COUNTER, "Times that a request or function began or resumed."},
    {"preempted", UWSGI_METRIC_COUNTER, "Times that a computing request or function gave way."},
    {"stack_peak", UWSGI_METRIC_GAUGE, "The deepest use of any stack, in bytes."},
}};

// One for each worker, shared with the master, which reads each second; null without metrics.
using Row = std::array<std::int64_t, kMetrics>;
Row* rows = nullptr;

void register_row(int worker) noexcept {
  for (std::size_t i = 0; i < kMetrics; ++i) {
    std::string name = "worker." + std::to_string(worker) + ".tornado." + kDescriptions[i].name;
    uwsgi_register_metric(name.data(), nullptr, kDescriptions[i].type, const_cast<char*>("ptr"),
                          &rows[worker][i], 0, nullptr);
  }
}

// Does nothing without metrics.
void show_metric(Metric metric, std::int64_t value) noexcept {
  if (rows != nullptr) rows[uwsgi.mywid][static_cast<std::size_t>(metric)] = value;
}

std::int64_t scaled(double value, double by) noexcept { return std::llround(value * by); }

}  // namespace

void register_metrics() noexcept {
  if (!uwsgi.has_metrics && options().metrics_path.empty()) return;
  const std::size_t size = sizeof *rows * static_cast<std::size_t>(uwsgi.numproc + 1);
  void* const shared = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return;
  rows = static_cast<Row*>(shared);
  for (int worker = 1; uwsgi.has_metrics && worker <= uwsgi.numproc; ++worker) register_row(worker);
}

std::size_t metric_count() noexcept { return kMetrics; }

ShownMetric shown_metric(std::size_t metric) noexcept {
  const Description& one = kDescriptions[metric];
  return {one.name, one.type == UWSGI_METRIC_COUNTER, one.help};
}

std::int64_t metric_of(int worker, std::size_t metric) noexcept {
  return rows == nullptr ? 0 : rows[worker][metric];
}

Metrics::Metrics(RequestHost& host) noexcept
    : host_(host),
      on_(rows != nullptr),
      timer_(host.loop().raw(), this),
      shown_at_(loop::monotonic_s()),
      work_began_(shown_at_) {
  if (!on_) return;
  rows[uwsgi.mywid].fill(0);  // The worker before it had its own.
  show_metric(Metric::kCoresFree, uwsgi.async);
  timer_.start(kShownEveryS);
}

// A worker that has ended holds nothing, but its counters stay.
Metrics::~Metrics() {
  for (const Metric gauge : {Metric::kCoresUsed, Metric::kCoresFree, Metric::kRunning, Metric::kParked,
                             Metric::kLoopLagUs, Metric::kBusyPercent}) {
    show_metric(gauge, 0);
  }
}

// --- As it happens ------------------------------------------------------------------------

void Metrics::note_room(bool has_room) noexcept {
  if (has_room) {
    was_full_s_ = queue_full_s();
    full_since_ = 0;
  } else {
    full_since_ = loop::monotonic_s();
  }
}

double Metrics::queue_full_s() const noexcept {
  return full_since_ == 0 ? was_full_s_ : was_full_s_ + loop::monotonic_s() - full_since_;
}

void Metrics::worked_until(double now) noexcept {
  longest_s_ = std::max(longest_s_, now - work_began_);
  work_began_ = now;
}

// The poll before only looked.
void Metrics::note_turn() noexcept {
  if (!std::exchange(slept_, false)) worked_until(RequestHost::turn_s());
}

void Metrics::note_sleep() noexcept {
  fell_asleep_ = loop::monotonic_s();
  worked_until(fell_asleep_);
}

// Before the GIL is taken: what waits for it waits for a thread of the application's.
void Metrics::note_awake() noexcept {
  work_began_ = RequestHost::turn_s();
  slept_ = true;
  slept_s_ += std::max(0.0, work_began_ - fell_asleep_);
}

// --- Once a second ------------------------------------------------------------------------

void Metrics::show() noexcept {
  show_load(loop::monotonic_s());
  show_requests();
  show_metric(Metric::kQueueFullMs, scaled(queue_full_s(), 1e3));
  show_metric(Metric::kRefused, static_cast<std::int64_t>(host_.refused()));
  show_metric(Metric::kSwitches, static_cast<std::int64_t>(python::switch_count()));
  show_metric(Metric::kPreempted, static_cast<std::int64_t>(python::preemption_count()));
  show_metric(Metric::kStackPeak, static_cast<std::int64_t>(suspend::Stack::deepest()));
  timer_.start(kShownEveryS);
}

// The master looks once a second too, not at the same time: each lag is shown for two.
void Metrics::show_load(double now) noexcept {
  const double elapsed_s = now - shown_at_;
  const double busy = elapsed_s <= 0 ? 0 : std::clamp(1 - slept_s_ / elapsed_s, 0.0, 1.0);
  show_metric(Metric::kBusyPercent, scaled(busy, 100));
  show_metric(Metric::kLoopLagUs, scaled(std::max(longest_s_, longest_before_s_), 1e6));
  longest_before_s_ = std::exchange(longest_s_, 0);
  slept_s_ = 0;
  shown_at_ = now;
}

void Metrics::show_requests() noexcept {
  const int free_cores = uwsgi.async_queue_unused_ptr + 1;
  std::int64_t running = 0;
  std::int64_t parked = 0;
  for (RequestThread* const thread : host_.threads())
    ++(thread->fiber().waiting() == nullptr ? running : parked);
  show_metric(Metric::kCoresUsed, uwsgi.async - free_cores);
  show_metric(Metric::kCoresFree, free_cores);
  show_metric(Metric::kCoresPeak, cores_peak_);
  show_metric(Metric::kRunning, running);
  show_metric(Metric::kParked, parked);
}

}  // namespace engine
