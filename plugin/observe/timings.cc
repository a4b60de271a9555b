#include "plugin/observe/timings.h"

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "plugin/request/request_host.h"
#include "plugin/request/request_thread.h"

namespace engine {
namespace {

// Of the request that runs and is logged or answered; null outside the engine, and where none are measured.
const RequestTimes* times_of(wsgi_request* request) noexcept {
  RequestThread* const thread = RequestHost::instance() == nullptr ? nullptr : RequestThread::current();
  return thread == nullptr || thread->request() != request ? nullptr : thread->times();
}

// uWSGI frees the value returned.
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
    const int size = std::snprintf(value, sizeof value, "queue;dur=%.3f, run;dur=%.3f, wait;dur=%.3f%s%s%s",
                                   times->queued_ms(), times->ran_ms(), times->waited_ms(),
                                   what == nullptr ? "" : ";desc=\"", what == nullptr ? "" : what,
                                   what == nullptr ? "" : "\"");
    char name[] = "Server-Timing";
    uwsgi_response_add_header(request, name, sizeof name - 1, value, static_cast<std::uint16_t>(size));
  }
  return uwsgi_proto_base_fix_headers(request);
}

}  // namespace

void register_log_variables() noexcept {
  uwsgi_register_logchunk(const_cast<char*>("tornado_queued"), log_ms<&RequestTimes::queued_ms>, 1);
  uwsgi_register_logchunk(const_cast<char*>("tornado_ran"), log_ms<&RequestTimes::ran_ms>, 1);
  uwsgi_register_logchunk(const_cast<char*>("tornado_waited"), log_ms<&RequestTimes::waited_ms>, 1);
  uwsgi_register_logchunk(const_cast<char*>("tornado_waited_for"), log_waited_for, 1);
}

// A protocol that has headers of another kind keeps them as they are.
void add_server_timing(uwsgi_socket& socket) noexcept {
  if (socket.proto_fix_headers == uwsgi_proto_base_fix_headers)
    socket.proto_fix_headers = fix_headers_with_timing;
}

}  // namespace engine
