#include "plugin/uwsgi/worker.h"

#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "plugin/python/module.h"
#include "plugin/python/py_ref.h"
#include "plugin/uwsgi/engine.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/python_bridge.h"
#include "plugin/uwsgi/uwsgi_core.h"

namespace engine {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  uwsgi_log("tornado: %s\n", why.c_str());
  exit(1);
}

// gevent.monkey.is_module_patched("threading"), asked only where gevent is loaded already.
bool is_patched_by_gevent() noexcept {
  PyObject* modules = PyImport_GetModuleDict();  // Borrowed.
  PyObject* monkey = PyDict_GetItemString(modules, "gevent.monkey");
  if (monkey == nullptr) return false;
  const auto answer =
      python::PyRef::steal(PyObject_CallMethod(monkey, "is_module_patched", "s", "threading"));
  if (!answer) PyErr_Clear();
  return answer && PyObject_IsTrue(answer.get()) == 1;
}

void report_start(const Engine& engine) {
  if (uwsgi.mywid != 1) return;
  const blocking::Redirection& calls = engine.redirection();
  uwsgi_log("tornado: %d cores on fibers, %zu KiB of stack each; %s %d slots in %zu objects (%s)\n",
            uwsgi.async, options().stack_size >> 10,
            options().native_blocking ? "blocking calls block, identity in" : "blocking calls suspend,",
            calls.slot_count(), calls.objects().size(), calls.summary().c_str());
  if (uwsgi.socket_timeout < 30) {
    uwsgi_log("tornado: a socket-timeout of %d s is short; 30 or more is recommended\n", uwsgi.socket_timeout);
  }
}

#ifdef UWSGI_TORNADO_DEBUG
void report_leak(const char* what, long count) {
  if (count != 0) uwsgi_log("tornado: LEAK: %ld %s left at the end\n", count, what);
}
#endif

}  // namespace

void register_plugin() noexcept {
  uwsgi_register_loop(const_cast<char*>("tornado"), run_worker);
  python::register_module();
}

int check_options() noexcept {
  if (!options().requested) return 0;
  const std::string clash = why_options_clash();
  if (!clash.empty()) refuse(clash);
  const std::string unusable = why_python_is_unusable();
  if (!unusable.empty()) refuse(unusable);
  return 0;
}

void check_applications() noexcept {
  if (!options().requested) return;
  const PyGILState_STATE gil = PyGILState_Ensure();
  const bool patched = is_patched_by_gevent();
  PyGILState_Release(gil);
  if (patched) {
    refuse("the application called gevent.monkey.patch_all(), which replaces the calls that "
           "suspend here by themselves: leave it out");
  }
}

void run_worker() noexcept {
  std::unique_ptr<Engine> engine;
  try {
    engine = std::make_unique<Engine>();
  } catch (const std::exception& error) {
    refuse(error.what());
  }
  report_start(*engine);
  engine->run();
  const bool reload = engine->asked_to_reload();
  // A fiber in the middle of a request cannot be unwound; the process ends over it.
  if (engine->unfinished()) _exit(reload ? UWSGI_RELOAD_CODE : 0);
  engine.reset();
#ifdef UWSGI_TORNADO_DEBUG
  report_leak("fibers", suspend::Fiber::count());
  report_leak("watchers", loop::active_watchers);
  report_leak("references", python::live_references);
#endif
  exit(reload ? UWSGI_RELOAD_CODE : 0);
}

}  // namespace engine
