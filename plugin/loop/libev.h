// libev: its types and macros, and its functions by a table. Included instead of <ev.h>.
#pragma once

#define EV_COMPAT3 0
#include <ev.h>

#include <string>

namespace loop {

// The functions that are used. The program is not linked with libev (private_library.h): one that is
// called by its own name does not link.
#define UWSGI_TORNADO_LIBEV_FUNCTIONS(X) \
  X(async_send)                          \
  X(async_start)                         \
  X(async_stop)                          \
  X(invoke_pending)                      \
  X(io_start)                            \
  X(io_stop)                             \
  X(loop_destroy)                        \
  X(loop_fork)                           \
  X(loop_new)                            \
  X(now_update)                          \
  X(pending_count)                       \
  X(prepare_start)                       \
  X(prepare_stop)                        \
  X(run)                                 \
  X(set_loop_release_cb)                 \
  X(set_userdata)                        \
  X(signal_start)                        \
  X(signal_stop)                         \
  X(timer_start)                         \
  X(timer_stop)                          \
  X(userdata)

// libev.run(...) is ev_run(...).
struct Libev {
#define X(name) decltype(&::ev_##name) name;
  UWSGI_TORNADO_LIBEV_FUNCTIONS(X)
#undef X
};

// Filled before main() or when the plugin is opened. Do not call it if libev_error() is not empty.
extern const Libev libev;
// Why libev cannot be used; empty if it can.
const std::string& libev_error() noexcept;

}  // namespace loop
