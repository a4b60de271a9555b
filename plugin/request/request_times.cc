#include "plugin/request/request_times.h"

#include <algorithm>
#include <cstring>

#include "plugin/loop/clock.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

constexpr const char* kTurn = "turn";  // It gave way, and it was the others' turn.
constexpr const char* kOther = "other";

double to_ms(std::int64_t ns) noexcept { return static_cast<double>(ns) * 1e-6; }

}  // namespace

void RequestTimes::prepare() noexcept {
  const bool logged = uwsgi.logformat != nullptr && std::strstr(uwsgi.logformat, "%(tornado_") != nullptr;
  wanted_ = logged || options().server_timing;
}

void RequestTimes::begin(std::int64_t queued_us) noexcept {
  *this = RequestTimes();
  queued_us_ = std::max<std::int64_t>(0, queued_us);
}

void RequestTimes::runs() noexcept {
  runs_since_ns_ = loop::monotonic_ns();
  if (stopped_at_ns_ != 0) wait_for(stopped_for_).ns += runs_since_ns_ - stopped_at_ns_;
}

void RequestTimes::stops(const char* what) noexcept {
  stopped_at_ns_ = loop::monotonic_ns();
  stopped_for_ = what == nullptr ? kTurn : what;
  ran_ns_ += stopped_at_ns_ - runs_since_ns_;
}

RequestTimes::Wait& RequestTimes::wait_for(const char* what) noexcept {
  for (Wait& wait : waits_) {
    if (wait.what == nullptr) wait.what = &wait == &waits_.back() ? kOther : what;
    if (std::strcmp(wait.what, what) == 0) return wait;
  }
  return waits_.back();
}

double RequestTimes::ran_ms() const noexcept {
  return to_ms(ran_ns_ + loop::monotonic_ns() - runs_since_ns_);
}

double RequestTimes::waited_ms() const noexcept {
  std::int64_t sum_ns = 0;
  for (const Wait& wait : waits_) sum_ns += wait.ns;
  return to_ms(sum_ns);
}

const char* RequestTimes::waited_for() const noexcept {
  return std::max_element(waits_.begin(), waits_.end(),
                          [](const Wait& a, const Wait& b) { return a.ns < b.ns; })
      ->what;
}

}  // namespace engine
