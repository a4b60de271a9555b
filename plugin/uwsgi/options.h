// What the command line asked for.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

// uwsgi.h has no include guard, and uwsgi_python.h includes it.
struct uwsgi_option;

namespace engine {

// What a thread of this process would have (ulimit -s), in bytes, but at least 4 MiB and at most 64.
std::size_t default_stack_size() noexcept;

struct Options {
  bool requested = false;                         // --tornado was given.
  std::size_t stack_size = default_stack_size();  // Bytes of each core's stack, reserved, not committed.
  double quantum_ms = 10;          // How long a request computes before it gives way; 0: for ever.
  double request_timeout_s = 0;    // After which a request is ended; 0: never.
  bool client_disconnect = false;  // A request whose client has gone is ended.
  int overload_status = 0;         // What is answered when no core is free in time; 0: nothing.
  double overload_wait_s = 1;
  double block_warn_ms = 0;      // Who holds the loop for longer is named; 0: nobody.
  std::string metrics_path;      // Empty: none.
  bool server_timing = false;    // Responses say where their time went.
  bool greenlet = false;         // Our module greenlet instead of the package.
  bool native_blocking = false;  // Blocking calls block.
  bool native_asgiref = false;   // async_to_sync() runs a loop of its own in a thread of its own.
  bool native_executor = false;  // run_in_executor(None, ...) and its kin take real threads.
  bool callbacks = false;
  bool http_client = false;                               // Tornado's fetch() takes a callback.
  std::string interface = "auto";                         // Of applications: auto, wsgi, asgi, tornado.
  std::map<std::string, std::string> interface_of_mount;  // Where it was given for one mount point.
  std::vector<std::string> suspend_libs;
  std::vector<std::string> native_libs;
};

// Filled as uWSGI parses its options.
Options& options() noexcept;

// The table uWSGI parses, ended by an empty entry.
uwsgi_option* option_table() noexcept;

// Whether an option, of uWSGI's too, is on the command line or in a configuration file.
bool was_given(const char* name) noexcept;

// Why the options as a whole cannot be served, as a sentence; empty when they can.
// Called once they have all been parsed.
std::string why_options_clash();

}  // namespace engine
