#include "plugin/uwsgi/python_bridge.h"

#include <cstring>
#include <utility>

#include "plugin/python/application.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/state_fields.h"
#include "suspend/fiber.h"

extern "C" {
#include "plugins/python/uwsgi_python.h"
extern struct uwsgi_server uwsgi;
// Weak, so that a process without the python plugin gets a sentence instead of a linker's error.
extern struct uwsgi_python up __attribute__((weak));
}

namespace engine {
namespace {

// The OS thread whose GIL the engine has taken over; a child that it forks is that thread, too.
suspend::ThreadPointer engine_thread = 0;

bool on_engine_thread() noexcept { return suspend::Fiber::os_thread() == engine_thread; }

// What the python plugin had before the engine took over.
struct {
  void (*gil_get)(void);
  void (*gil_release)(void);
} original;

void gil_get() noexcept {
  if (!on_engine_thread()) original.gil_get();
}

void gil_release() noexcept {
  if (!on_engine_thread()) original.gil_release();
}

std::string built_for() { return std::to_string(PY_MAJOR_VERSION) + "." + std::to_string(PY_MINOR_VERSION); }

std::string running() {
  const std::string version = Py_GetVersion();
  const auto minor = version.find('.');
  return version.substr(0, version.find_first_not_of("0123456789", minor + 1));
}

}  // namespace

std::string why_python_is_unusable() {
  if (&up == nullptr) {
    return "uWSGI's python plugin is not loaded: name it first, as in --plugin python3,tornado";
  }
  if (running() != built_for()) {
    return "this plugin was built for Python " + built_for() + " but uWSGI runs Python " + running() +
           ": build it again with PYTHON= set to that Python";
  }
  if (!python::can_bound_recursion()) {
    return "Python " + std::string(Py_GetVersion(), std::strcspn(Py_GetVersion(), " ")) +
           " cannot be told about a fiber's stack: use 3.14.2 or later";
  }
#ifdef Py_GIL_DISABLED
  return "free-threaded Python is not supported: it keeps state for each OS thread that fibers cannot share";
#endif
  return "";
}

void take_over_gil() noexcept {
  original.gil_get = up.gil_get;
  original.gil_release = up.gil_release;
  up.gil_get();
  engine_thread = suspend::Fiber::os_thread();
  up.gil_get = gil_get;
  up.gil_release = gil_release;
}

uwsgi_plugin* python_plugin() noexcept {
  for (uwsgi_plugin* plugin : uwsgi.p) {
    if (plugin != nullptr && plugin->name != nullptr && std::strcmp(plugin->name, "python") == 0)
      return plugin;
  }
  return nullptr;
}

int python_modifier() noexcept {
  static const uwsgi_plugin* const plugin = python_plugin();
  return plugin == nullptr ? -1 : plugin->modifier1;
}

PyObject* callable_of(const uwsgi_app& application) noexcept {
  return static_cast<PyObject*>(application.callable);
}

bool has_after_request_hook() noexcept {
  return up.after_req_hook != nullptr || uwsgi.after_request_hooks != nullptr;
}

void set_uwsgi_name(const char* name, PyObject* value) {
  python::py_check_status(PyDict_SetItemString(up.embedded_dict, name, value));
}

void set_current_environ(PyObject* environ) noexcept {
  static PyObject* const key = PyUnicode_InternFromString("env");
  if (PyDict_SetItem(up.embedded_dict, key, environ) < 0) PyErr_Clear();
}

// Called here and not left to exit(): by then the thread's C++ destructors have run, and
// extension modules still used by atexit functions have lost what they kept there.
void finalise_python() noexcept {
  const uwsgi_plugin* const plugin = python_plugin();
  if (plugin == nullptr || plugin->atexit == nullptr) return;
  // uWSGI leaves async workers out, whose requests may be anywhere; this one has none.
  const int async = std::exchange(uwsgi.async, 1);
  plugin->atexit();
  uwsgi.async = async;
}

void report_python_error() noexcept {
  python::contain_system_exit();
  PyErr_Print();
}

}  // namespace engine
