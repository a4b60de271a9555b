// The plugin's life in a uWSGI process, from the options to the end of a worker.
#pragma once

namespace engine {

// When the plugin is mapped: logs if uWSGI has another one of the same name and will drop this one.
void say_if_left_out() noexcept;

// As uWSGI loads the plugin, before it starts Python.
void register_plugin() noexcept;

// Once the options are parsed: ends the process with a sentence if they cannot be served. Returns 0, which is
// success for uWSGI.
int check_options() noexcept;

// Before the applications are loaded: makes the event loop that they may use, and replaces functions of
// module uwsgi by ones that suspend.
void prepare_for_applications() noexcept;

// Once uWSGI has loaded the applications, except those of --mount: logs the interface of each, and removes
// those that cannot be served.
void look_at_loaded_applications() noexcept;

// Once the applications are loaded: checks what they have done to Python.
void check_applications() noexcept;

// In the master, in each cycle: ends every worker once one has found that none can serve, or at a second
// signal to end.
void watch_workers() noexcept;

// uWSGI's loop function: runs the engine in this worker, and ends the process with it.
void run_worker() noexcept;

}  // namespace engine
