#include "plugin/observe/prometheus.h"

#include <cstdint>
#include <string_view>

#include "plugin/observe/metrics.h"
#include "plugin/uwsgi/options.h"

namespace engine {
namespace {

// What uWSGI itself counts of each worker.
struct Counted {
  const char* name;
  const char* type;
  const char* help;
  std::uint64_t (*of)(const uwsgi_worker&);
};

constexpr Counted kCounted[] = {
    {"requests_total", "counter", "Requests answered.",
     [](const uwsgi_worker& worker) { return worker.requests; }},
    {"exceptions_total", "counter", "Requests that ended with an exception.",
     [](const uwsgi_worker& worker) {
       std::uint64_t count = 0;
       for (int core = 0; core < uwsgi.cores; ++core) count += worker.cores[core].exceptions;
       return count;
     }},
    {"respawns_total", "counter", "Times that the worker was restarted.",
     [](const uwsgi_worker& worker) { return worker.respawn_count; }},
    {"sent_bytes_total", "counter", "Bytes of responses.",
     [](const uwsgi_worker& worker) { return worker.tx; }},
};

void describe(std::string& text, const std::string& name, const char* type, const char* help) {
  text += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

void show(std::string& text, const std::string& name, int worker, std::int64_t value) {
  text += name + "{worker=\"" + std::to_string(worker) + "\"} " + std::to_string(value) + "\n";
}

bool add_header(wsgi_request* request, std::string_view name, std::string_view value) noexcept {
  return uwsgi_response_add_header(request, const_cast<char*>(name.data()),
                                   static_cast<std::uint16_t>(name.size()), const_cast<char*>(value.data()),
                                   static_cast<std::uint16_t>(value.size())) == 0;
}

}  // namespace

std::string metrics_text() {
  const std::string prefix = "uwsgi_tornado_";
  std::string text;
  for (std::size_t metric = 0; metric < metric_count(); ++metric) {
    const ShownMetric shown = shown_metric(metric);
    const std::string name = prefix + shown.name + (shown.is_counter ? "_total" : "");
    describe(text, name, shown.is_counter ? "counter" : "gauge", shown.help);
    for (int worker = 1; worker <= uwsgi.numproc; ++worker)
      show(text, name, worker, metric_of(worker, metric));
  }
  for (const Counted& counted : kCounted) {
    const std::string name = prefix + counted.name;
    describe(text, name, counted.type, counted.help);
    for (int worker = 1; worker <= uwsgi.numproc; ++worker)
      show(text, name, worker, static_cast<std::int64_t>(counted.of(uwsgi.workers[worker])));
  }
  return text;
}

bool answer_metrics(wsgi_request* request) noexcept {
  const std::string& path = options().metrics_path;
  if (path.empty() || std::string_view(request->path_info, request->path_info_len) != path) return false;
  char status[] = "200 OK";
  std::string text = metrics_text();
  const bool begun = uwsgi_response_prepare_headers(request, status, sizeof status - 1) == 0 &&
                     add_header(request, "Content-Type", "text/plain; version=0.0.4; charset=utf-8") &&
                     add_header(request, "Content-Length", std::to_string(text.size()));
  if (begun) uwsgi_response_write_body_do(request, text.data(), text.size());
  return true;
}

}  // namespace engine
