// The plugin's life in a uWSGI process, from the options to the end of a worker.
#pragma once

namespace engine {

// As the plugin is mapped: says so when uWSGI has one of the same name and will drop this one.
void say_if_left_out() noexcept;

// As uWSGI loads the plugin, before it starts Python.
void register_plugin() noexcept;

// Once the options are parsed: ends the process with a sentence when they cannot be served.
// Returns 0, uWSGI's "fine".
int check_options() noexcept;

// Before the applications are loaded: makes the event loop they may ask for, and the functions
// of module uwsgi those that suspend.
void prepare_for_applications() noexcept;

// Once uWSGI has loaded applications, but for --mount's: says what each is, and leaves out what cannot be
// served.
void look_at_loaded_applications() noexcept;

// Once the applications are loaded: the same for what they have done to Python.
void check_applications() noexcept;

// In the master, each time round: ends every worker once one has found that none can serve, or at
// a second signal to end.
void watch_workers() noexcept;

// uWSGI's loop function: runs the engine in this worker, and ends the process with it.
void run_worker() noexcept;

}  // namespace engine
