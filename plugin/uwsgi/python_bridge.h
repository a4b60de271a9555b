// The only connection to uWSGI's python plugin.
#pragma once

#include <Python.h>

#include <string>

// uwsgi.h has no include guard and uwsgi_python.h includes it, so neither is included here.
struct uwsgi_app;
struct uwsgi_plugin;

namespace engine {

// A sentence that says why the python plugin of this process cannot be served; empty if it can.
std::string why_python_is_unusable();

// Takes the GIL for the loop's thread, which keeps it except while it sleeps. The python plugin's own taking
// and releasing then does nothing on that thread: its I/O suspends instead. Other threads take and release it
// as before.
void take_over_gil() noexcept;

// The python plugin's table of functions; null without it.
uwsgi_plugin* python_plugin() noexcept;
// The modifier of requests for the python plugin; -1 without it.
int python_modifier() noexcept;

// The function that uWSGI calls for one of its applications. With the GIL held.
PyObject* callable_of(const uwsgi_app& application) noexcept;

// Whether Python code runs after each request, on the request's thread: uwsgi.after_req_hook, or what an
// option names.
bool has_after_request_hook() noexcept;

// Sets a name in the module uwsgi, replacing what it had. With the GIL held, once the module exists. Throws
// PyError.
void set_uwsgi_name(const char* name, PyObject* value);

// Sets uwsgi.env, which app code may read after a wait. With the GIL held.
void set_current_environ(PyObject* environ) noexcept;

// Runs uwsgi.atexit and Python's own atexit, and ends the interpreter, as uWSGI does for
// workers that are not async. REQUIRES: no request is left; the engine is gone.
void finalise_python() noexcept;

// Prints the pending Python error to the log and clears it. SystemExit does not end the process.
void report_python_error() noexcept;

}  // namespace engine
