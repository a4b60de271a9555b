#include "plugin/uwsgi/options.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "plugin/uwsgi/option_numbers.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

constexpr int kSocketTimeoutMinS = 30;
constexpr std::size_t kStackSizeMin = 256u << 10;
constexpr double kMsMin = 0.1;
constexpr double kMsMax = 60000;
constexpr double kTimeoutMaxS = 1e6;
constexpr double kOverloadWaitMaxS = 3600;

[[noreturn]] void refuse(const std::string& why) {
  uwsgi_log("tornado: %s\n", why.c_str());
  exit(1);
}

// A whole decimal number in [low, high], or a refusal that names the option.
long parse_number(const char* option, const char* text, long low, long high) {
  const auto number = whole_number(text, low, high);
  if (!number) {
    refuse("--" + std::string(option) + " takes a whole number from " + std::to_string(low) + " to " +
           std::to_string(high) + ", not \"" + text + "\"");
  }
  return *number;
}

// 0, or milliseconds with a fraction.
double parse_ms(const char* option, const char* text) {
  const double ms = decimal_number(text).value_or(-1);
  if (ms < 0 || (ms != 0 && (ms < kMsMin || ms > kMsMax))) {
    refuse("--" + std::string(option) + " takes milliseconds from 0.1 to 60000, or 0, not \"" + text + "\"");
  }
  return ms;
}

double parse_seconds(const char* option, const char* text, double most) {
  const double seconds = decimal_number(text).value_or(-1);
  if (seconds < 0 || seconds > most) {
    refuse("--" + std::string(option) + " takes seconds from 0 to " + std::to_string(std::lround(most)) +
           ", not \"" + text + "\"");
  }
  return seconds;
}

void on_tornado(char* option, char* value, void*) {
  uwsgi.async = static_cast<int>(parse_number(option, value, 2, 1000000));
  uwsgi.loop = const_cast<char*>("tornado");
  uwsgi.single_interpreter = 1;
  if (uwsgi.socket_timeout < kSocketTimeoutMinS) uwsgi.socket_timeout = kSocketTimeoutMinS;
  options().requested = true;
}

void on_stack_size(char* option, char* value, void*) {
  options().stack_size = static_cast<std::size_t>(parse_number(option, value, kStackSizeMin >> 10, 1 << 20))
                         << 10;
}

void on_quantum(char* option, char* value, void*) { options().quantum_ms = parse_ms(option, value); }

void on_request_timeout(char* option, char* value, void*) {
  options().request_timeout_s = parse_seconds(option, value, kTimeoutMaxS);
}

void on_client_disconnect(char*, char*, void*) { options().client_disconnect = true; }
void on_overload_status(char* option, char* value, void*) {
  const std::string status = value;
  if (status != "429" && status != "503") {
    refuse("--" + std::string(option) + " takes 429 or 503, not \"" + status + "\"");
  }
  options().overload_status = std::atoi(value);
}

void on_overload_wait(char* option, char* value, void*) {
  options().overload_wait_s = parse_seconds(option, value, kOverloadWaitMaxS);
}

constexpr std::array<const char*, 4> kInterfaces = {"auto", "wsgi", "asgi", "tornado"};

// INTERFACE, or MOUNT=INTERFACE.
void on_interface(char* option, char* value, void*) {
  const std::string given = value;
  const auto equals = given.rfind('=');
  const std::string name = equals == std::string::npos ? given : given.substr(equals + 1);
  if (std::find(kInterfaces.begin(), kInterfaces.end(), name) == kInterfaces.end()) {
    refuse("--" + std::string(option) + " takes auto, wsgi, asgi or tornado, or MOUNT=one of them, not \"" +
           given + "\"");
  }
  if (equals == std::string::npos) options().interface = name;
  else options().interface_of_mount[given.substr(0, equals)] = name;
}

void on_block_warn(char* option, char* value, void*) { options().block_warn_ms = parse_ms(option, value); }
void on_server_timing(char*, char*, void*) { options().server_timing = true; }
void on_metrics(char* option, char* value, void*) {
  if (value[0] != '/')
    refuse("--" + std::string(option) + " takes a path that begins with \"/\", not \"" + value + "\"");
  options().metrics_path = value;
}
void on_coalesce(char*, char*, void*) { options().coalesce = true; }
void on_greenlet(char*, char*, void*) { options().greenlet = true; }
void on_native_blocking(char*, char*, void*) { options().native_blocking = true; }
void on_native_asgiref(char*, char*, void*) { options().native_asgiref = true; }
void on_native_executor(char*, char*, void*) { options().native_executor = true; }
void on_callbacks(char*, char*, void*) { options().callbacks = true; }
void on_http_client(char*, char*, void*) { options().http_client = true; }
void on_suspend_lib(char*, char* value, void*) { options().suspend_libs.emplace_back(value); }
void on_native_lib(char*, char* value, void*) { options().native_libs.emplace_back(value); }

uwsgi_option make(const char* name, int argument, const char* help, void (*parse)(char*, char*, void*),
                  std::uint64_t flags = 0) {
  uwsgi_option option{};
  option.name = const_cast<char*>(name);
  option.type = argument;
  option.help = const_cast<char*>(help);
  option.func = parse;
  option.flags = flags;
  return option;
}

struct Clash {
  const char* option;
  const char* why;
};

constexpr std::array<Clash, 5> kClashes = {{
    {"threads", "--threads runs each request on an OS thread, --tornado on a fiber: choose one"},
    {"gevent", "--gevent has its own event loop: choose one"},
    {"asyncio", "--asyncio has its own event loop: choose one"},
    {"ugreen", "--ugreen switches stacks without switching Python's thread states: remove it"},
    {"fiber", "--fiber switches Ruby's stacks: remove it"},
}};

// True when `name` was given on the command line or in a configuration file.
const char* given(const char* name) noexcept {
  for (int i = 0; i < uwsgi.exported_opts_cnt; ++i) {
    const uwsgi_opt* option = uwsgi.exported_opts[i];
    if (std::strcmp(option->key, name) == 0) return option->value == nullptr ? "" : option->value;
  }
  return nullptr;
}

}  // namespace

std::size_t default_stack_size() noexcept {
  constexpr rlim_t kLeast = 4u << 20;
  constexpr rlim_t kMost = 64u << 20;
  constexpr rlim_t kUnlimited = 8u << 20;
  rlimit limit{};
  if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  return std::clamp(limit.rlim_cur, kLeast, kMost) & ~rlim_t{0xFFFF};  // Whole pages, whatever their size.
}

Options& options() noexcept {
  static Options parsed;
  return parsed;
}

uwsgi_option* option_table() noexcept {
  static uwsgi_option table[] = {
      make("tornado", required_argument,
           "number of requests that each worker serves at once, each on its own fiber", on_tornado,
           UWSGI_OPT_THREADS),
      make("tornado-interface", required_argument,
           "interface of the application: auto (default), wsgi, asgi or tornado; MOUNT=INTERFACE sets it "
           "for one mount point (may be repeated)",
           on_interface),
      make("tornado-stack-size", required_argument,
           "KiB of stack to reserve for each fiber (default: the size of a thread's stack, usually 8192)",
           on_stack_size),
      make("tornado-quantum", required_argument,
           "milliseconds that a request may compute before it gives way to others (default 10; 0 disables "
           "preemption)",
           on_quantum),
      make("tornado-request-timeout", required_argument,
           "seconds after which a waiting request gets RequestTimeout, and its client 504 (default 0, no "
           "limit)",
           on_request_timeout),
      make("tornado-client-disconnect", no_argument,
           "raise ClientDisconnected in a waiting request when its client disconnects", on_client_disconnect),
      make("tornado-overload-status", required_argument,
           "status (429 or 503) to answer when no core becomes free in time, instead of letting clients wait",
           on_overload_status),
      make("tornado-overload-wait", required_argument,
           "seconds to wait for a free core before that answer (default 1)", on_overload_wait),
      make("tornado-block-warn", required_argument,
           "log any request or callback that holds the loop for this many milliseconds (default 0, off)",
           on_block_warn),
      make("tornado-server-timing", no_argument,
           "add a Server-Timing header that says how long the request was queued, ran and waited",
           on_server_timing),
      make("tornado-metrics", required_argument,
           "path at which to serve the metrics of all workers to Prometheus", on_metrics),
      make("tornado-coalesce", no_argument,
           "gather chunks that a WSGI application yields in succession, and send up to 64 KiB at once",
           on_coalesce),
      make("greenlet", no_argument, "provide a module greenlet whose greenlets are fibers", on_greenlet),
      make("tornado-native-blocking", no_argument,
           "make blocking calls block the worker instead of suspending their request", on_native_blocking),
      make("tornado-native-asgiref", no_argument,
           "make asgiref's async_to_sync() run its own loop in its own thread", on_native_asgiref),
      make("tornado-native-executor", no_argument,
           "make the thread pools of asyncio, asgiref and anyio use real threads instead of virtual ones",
           on_native_executor),
      make("tornado-callbacks", no_argument,
           "make fetch() of Tornado's AsyncHTTPClient accept a callback, as before Tornado 6", on_callbacks),
      make("tornado-http-client", no_argument,
           "make Tornado's AsyncHTTPClient fetch through libcurl on the worker's loop", on_http_client),
      make("tornado-suspend-lib", required_argument,
           "make blocking calls of this library suspend, too (\"libfoo\"; may be repeated)", on_suspend_lib),
      make("tornado-native-lib", required_argument,
           "leave the blocking calls of this library alone (\"libfoo\"; may be repeated)", on_native_lib),
      {},
  };
  return table;
}

bool was_given(const char* name) noexcept { return given(name) != nullptr; }

std::string why_options_clash() {
  // uWSGI has taken the option for one of the two, whichever was loaded first.
  if (given("greenlet") != nullptr && plugin_already_loaded("greenlet") != 0) {
    return "this plugin provides --greenlet: do not load uWSGI's plugin greenlet";
  }
  if (given("tornado-overload-wait") != nullptr && options().overload_status == 0) {
    return "--tornado-overload-wait needs --tornado-overload-status";
  }
  for (const Clash& clash : kClashes) {
    const char* value = given(clash.option);
    if (value == nullptr) continue;
    const bool one_thread = std::strcmp(clash.option, "threads") == 0 && std::atoi(value) < 2;
    if (!one_thread) return clash.why;
  }
  if (uwsgi.loop == nullptr || std::strcmp(uwsgi.loop, "tornado") != 0) {
    return "--loop names another engine: choose one";
  }
  return "";
}

}  // namespace engine
