#include "plugin/uwsgi/request_times.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "plugin/loop/clock.h"
#include "plugin/uwsgi/engine.h"
#include "plugin/uwsgi/options.h"

namespace engine {
namespace {

constexpr const char* kTurn = "turn";  // It gave way, and it was the others' turn.
constexpr const char* kOther = "other";

double to_ms(std::int64_t ns) noexcept { return static_cast<double>(ns) * 1e-6; }

// Of the request that runs and is logged or answered; null outside the engine.
const RequestTimes* times_of(wsgi_request* request) noexcept {
  RequestThread* const thread = Engine::instance() == nullptr ? nullptr : RequestThread::current();
  return thread == nullptr || thread->request() != request ? nullptr : &thread->times();
}

// uWSGI frees what is given.
ssize_t give(char** text, const char* value) noexcept {
  *text = strdup(value);
  return *text == nullptr ? 0 : static_cast<ssize_t>(std::strlen(value));
}

template <double (RequestTimes::*of)() const noexcept>
ssize_t log_ms(wsgi_request* request, char** text) noexcept {
  const RequestTimes* const times = times_of(request);
  *text = nullptr;
  if (times == nullptr) return 0;
  char number[32];
  std::snprintf(number, sizeof number, "%.3f", (times->*of)());
  return give(text, number);
}

ssize_t log_waited_for(wsgi_request* request, char** text) noexcept {
  const RequestTimes* const times = times_of(request);
  *text = nullptr;
  const char* const what = times == nullptr ? nullptr : times->waited_for();
  return what == nullptr ? 0 : give(text, what);
}

// The headers are complete and about to be sent.
int fix_headers_with_timing(wsgi_request* request) noexcept {
  if (const RequestTimes* times = times_of(request)) {
    char value[160];
    const char* const what = times->waited_for();
    const int size = std::snprintf(value, sizeof value, "queue;dur=%.3f, run;dur=%.3f, wait;dur=%.3f%s%s%s", times->queued_ms(),
                                   times->ran_ms(), times->waited_ms(), what == nullptr ? "" : ";desc=\"", what == nullptr ? "" : what,
                                   what == nullptr ? "" : "\"");
    char name[] = "Server-Timing";
    uwsgi_response_add_header(request, name, sizeof name - 1, value, static_cast<std::uint16_t>(size));
  }
  return uwsgi_proto_base_fix_headers(request);
}

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

double RequestTimes::ran_ms() const noexcept { return to_ms(ran_ns_ + loop::monotonic_ns() - runs_since_ns_); }

double RequestTimes::waited_ms() const noexcept {
  std::int64_t sum_ns = 0;
  for (const Wait& wait : waits_) sum_ns += wait.ns;
  return to_ms(sum_ns);
}

const char* RequestTimes::waited_for() const noexcept {
  return std::max_element(waits_.begin(), waits_.end(), [](const Wait& a, const Wait& b) { return a.ns < b.ns; })->what;
}

void register_log_variables() noexcept {
  uwsgi_register_logchunk(const_cast<char*>("tornado_queued"), log_ms<&RequestTimes::queued_ms>, 1);
  uwsgi_register_logchunk(const_cast<char*>("tornado_ran"), log_ms<&RequestTimes::ran_ms>, 1);
  uwsgi_register_logchunk(const_cast<char*>("tornado_waited"), log_ms<&RequestTimes::waited_ms>, 1);
  uwsgi_register_logchunk(const_cast<char*>("tornado_waited_for"), log_waited_for, 1);
}

// A protocol that has headers of another kind keeps them as they are.
void add_server_timing(uwsgi_socket& socket) noexcept {
  if (socket.proto_fix_headers == uwsgi_proto_base_fix_headers) socket.proto_fix_headers = fix_headers_with_timing;
}

}  // namespace engine
