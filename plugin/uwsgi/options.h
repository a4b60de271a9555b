// The options that were given.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

// uwsgi.h has no include guard, and uwsgi_python.h includes it.
struct uwsgi_option;

namespace engine {

// The stack size of a thread of this process (ulimit -s), in bytes, at least 4 MiB and at most 64 MiB.
std::size_t default_stack_size() noexcept;

struct Options {
  bool requested = false;                         // --tornado was given.
  std::size_t stack_size = default_stack_size();  // Bytes of each core's stack, reserved, not committed.
  double quantum_ms = 10;          // How long a request computes before it gives way; 0 means for ever.
  double request_timeout_s = 0;    // The limit of a request; 0 means none.
  bool client_disconnect = false;  // Ends requests whose client has disconnected.
  int overload_status = 0;         // The answer when no core becomes free in time; 0 means none.
  double overload_wait_s = 1;
  double block_warn_ms = 0;        // Code that holds the loop for longer is logged; 0 disables this.
  std::string metrics_path;        // Empty: none.
  bool server_timing = false;      // Responses say where their time went.
  bool coalesce = false;           // Chunks of a WSGI response that follow one another are sent together.
  bool greenlet = false;           // Our module greenlet instead of the package.
  bool native_blocking = false;    // Blocking calls block.
  bool native_asgiref = false;     // async_to_sync() runs a loop of its own in a thread of its own.
  bool native_executor = false;    // run_in_executor(None, ...) and its kin take real threads.
  bool callbacks = false;          // Tornado's fetch() takes a callback.
  bool http_client = false;        // Tornado's AsyncHTTPClient fetches through libcurl.
  std::string interface = "auto";  // Of applications: auto, wsgi, asgi, tornado.
  std::map<std::string, std::string> interface_of_mount;  // The interfaces given for single mount points.
  std::vector<std::string> suspend_libs;
  std::vector<std::string> native_libs;
};

// Filled while uWSGI parses its options.
Options& options() noexcept;

// The table uWSGI parses, ended by an empty entry.
uwsgi_option* option_table() noexcept;

// Whether an option, ours or uWSGI's, was given on the command line or in a configuration file.
bool was_given(const char* name) noexcept;

// A sentence that says why these options cannot be served together; empty if they can. Called once all have
// been parsed.
std::string why_options_clash();

}  // namespace engine
