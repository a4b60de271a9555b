#include "plugin/engine/worker.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <string>

#include "plugin/asgi/interface.h"
#include "plugin/asyncio/asgiref.h"
#include "plugin/asyncio/executor.h"
#include "plugin/asyncio/worker_loop.h"
#include "plugin/engine/engine.h"
#include "plugin/engine/shutdown_signals.h"
#include "plugin/engine/uwsgi_module.h"
#include "plugin/fetch/fetch_module.h"
#include "plugin/greenlet/greenlet_module.h"
#include "plugin/module/module.h"
#include "plugin/observe/fiber_dump.h"
#include "plugin/observe/metrics.h"
#include "plugin/observe/overrun.h"
#include "plugin/observe/timings.h"
#include "plugin/python/py_ref.h"
#include "plugin/request/request_times.h"
#include "plugin/tornado/tornado_callbacks.h"
#include "plugin/tornado_web/tornado_web.h"
#include "plugin/uwsgi/engineio_driver.h"
#include "plugin/uwsgi/interfaces.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/python_bridge.h"
#include "plugin/uwsgi/uwsgi_core.h"
#include "suspend/coroutine.h"

namespace engine {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  uwsgi_log("tornado: %s\n", why.c_str());
  exit(1);
}

// Shared with the workers: one of them found that none can serve.
std::atomic<bool>* gave_up = nullptr;

// The application has run, so this ends without finalising Python: an exit over what it has
// loaded (gevent's own threads) may abort.
[[noreturn]] void refuse_application(const std::string& why) {
  uwsgi_log("tornado: %s\n", why.c_str());
  _exit(1);
}

// A worker that only exits is started again at once, and again: the master is told to end all.
[[noreturn]] void refuse_worker(const std::string& why) {
  if (uwsgi.master_process == 0) refuse_application(why);
  const pid_t master = getppid();
  if (!gave_up->exchange(true)) uwsgi_log("tornado: %s\n", why.c_str());
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  while (getppid() == master) sleep(1);
  _exit(UWSGI_FAILED_APP_CODE);
}

// What tasks without a request have to end in, once they are cancelled.
constexpr double kTasksEndS = 5;

// A library that replaces the calls which suspend here by themselves, and how it is asked whether it has done
// so.
struct Patcher {
  const char* call;
  const char* module;
  const char* question;
  const char* about;
};

constexpr Patcher kPatchers[] = {
    {"gevent.monkey.patch_all()", "gevent.monkey", "is_module_patched", "threading"},
    {"eventlet.monkey_patch()", "eventlet.patcher", "is_monkey_patched", "thread"},
    {"eventlet.monkey_patch()", "eventlet.patcher", "is_monkey_patched", "socket"},
    {"eventlet.monkey_patch()", "eventlet.patcher", "is_monkey_patched", "time"},
};

// Asked only where it is loaded already. With the GIL held.
bool has_patched(const Patcher& patcher) noexcept {
  PyObject* const module = PyDict_GetItemString(PyImport_GetModuleDict(), patcher.module);  // Borrowed.
  if (module == nullptr) return false;
  const auto answer = python::PyRef::steal(PyObject_CallMethod(module, patcher.question, "s", patcher.about));
  if (!answer) PyErr_Clear();
  return answer && PyObject_IsTrue(answer.get()) == 1;
}

// Why an application that has called one of them is refused, as a sentence; empty where none was.
std::string why_patches_are_refused() {
  const PyGILState_STATE gil = PyGILState_Ensure();
  const Patcher* const patched = std::find_if(std::begin(kPatchers), std::end(kPatchers), has_patched);
  PyGILState_Release(gil);
  if (patched == std::end(kPatchers)) return "";
  return std::string("the application called ") + patched->call +
         ", which replaces calls that already suspend here: remove that call";
}

// Up to 3.11 CPython bounds recursion by a count of levels only, whatever the stack.
void warn_of_small_stack() {
#if PY_VERSION_HEX < 0x030C0000
  constexpr std::size_t kLevelKiB = 3;  // What a level of the worst takes: sorted() with a key.
  const std::size_t needed = static_cast<std::size_t>(Py_GetRecursionLimit()) * kLevelKiB;
  if (options().stack_size >> 10 >= needed) return;
  uwsgi_log(
      "tornado: sys.getrecursionlimit() is %d: recursion through C may overrun stacks of %zu KiB; "
      "--tornado-stack-size %zu is enough\n",
      Py_GetRecursionLimit(), options().stack_size >> 10, needed);
#endif
}

void report_start(const Engine& engine) {
  if (uwsgi.mywid != 1) return;
  const blocking::Redirection& calls = engine.redirection();
  uwsgi_log("tornado: %d cores on fibers, %zu KiB of stack each; %s %d slots in %zu objects (%s)\n",
            uwsgi.async, options().stack_size >> 10,
            options().native_blocking ? "blocking calls block, identity in" : "blocking calls suspend,",
            calls.slot_count(), calls.objects().size(), calls.summary().c_str());
  warn_of_small_stack();
  if (uwsgi.socket_timeout < 30) {
    uwsgi_log("tornado: a socket-timeout of %d s is short; 30 or more is recommended\n",
              uwsgi.socket_timeout);
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
  register_log_variables();
}

// uWSGI drops the second plugin of a name without a word; its own engine has this one's name.
void say_if_left_out() noexcept {
  // Inside the program this runs before main(), when uWSGI's table is not filled yet.
  if (uwsgi.p[0] == nullptr || !plugin_already_loaded("tornado")) return;
  uwsgi_log(
      "tornado: uWSGI has already loaded another plugin named tornado and ignores this one: load only one of "
      "them\n");
}

int check_options() noexcept {
  if (!options().requested) return 0;
  const std::string clash = why_options_clash();
  if (!clash.empty()) refuse(clash);
  const std::string unusable = why_python_is_unusable();
  if (!unusable.empty()) refuse(unusable);
  void* const shared =
      mmap(nullptr, sizeof *gave_up, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED || !WorkerLoads::prepare()) refuse("no memory");
  if (options().greenlet) python::register_greenlet_module(options().stack_size);
  gave_up = new (shared) std::atomic<bool>(false);
  register_metrics();
  RequestTimes::prepare();
  return 0;
}

namespace {

void end_if_worker_gave_up() noexcept {
  if (gave_up == nullptr || !gave_up->load() || uwsgi.status.dying_for_need_app) return;
  uwsgi.status.dying_for_need_app = 1;  // The exit code is that of --need-app.
  // Another may still be importing the same application, where the master's SIGINT is but a
  // KeyboardInterrupt: a traceback, and a worker that goes on.
  for (int i = 1; i <= uwsgi.numproc; ++i) {
    if (uwsgi.workers[i].pid > 0) kill(uwsgi.workers[i].pid, SIGKILL);
  }
  kill_them_all(0);
}

}  // namespace

void watch_workers() noexcept {
  hear_second_end_signal();
  end_if_worker_gave_up();
  if (options().requested) offer_dump_by_fifo();
}

void check_applications() noexcept {
  if (!options().requested) return;
  if (const std::string why = why_patches_are_refused(); !why.empty()) refuse_application(why);
}

void look_at_loaded_applications() noexcept {
  if (!options().requested) return;
  const PyGILState_STATE gil = PyGILState_Ensure();
  look_at_applications();
  PyGILState_Release(gil);
}

// uWSGI may have given the GIL up, or not have threads at all: CPython knows.
void prepare_for_applications() noexcept {
  if (!options().requested) return;
  const PyGILState_STATE gil = PyGILState_Ensure();
  try {
    python::WorkerLoop::make();
    asgi::serve_asgi();
    serve_tornado_applications();
    replace_functions_of_uwsgi();
    install_websocket_functions();
    install_engineio_driver();
    if (!options().native_asgiref) python::prepare_asgiref();
    if (!options().native_executor) python::use_virtual_executors();
    if (options().callbacks) python::restore_tornado_callbacks();
    if (options().http_client) python::configure_tornado_http_client();
  } catch (const python::PyError&) {
    PyErr_Print();
    refuse("cannot import asyncio, which the event loop needs");
  } catch (const std::exception& error) {
    refuse(error.what());
  }
  PyGILState_Release(gil);
}

void run_worker() noexcept {
  if (const std::string why = why_patches_are_refused(); !why.empty()) refuse_worker(why);  // --lazy-apps.
  if (python::WorkerLoop::instance() == nullptr)
    prepare_for_applications();  // A worker without applications.
  python::WorkerLoop& worker_loop = *python::WorkerLoop::instance();
  worker_loop.io().after_fork();
  std::unique_ptr<Engine> engine;
  try {
    engine = std::make_unique<Engine>(worker_loop.io());
    worker_loop.begin();
    python::install_default_executor();
  } catch (const std::exception& error) {
    refuse_worker(error.what());
  } catch (const python::PyError&) {
    PyErr_Print();
    refuse_worker("its event loop cannot run");
  }
  report_overruns();
  if (const std::string why = engine->start_applications(); !why.empty()) refuse_worker(why);
  report_start(*engine);
  engine->run();
  const int exit_code = engine->exit_code();
  // A fiber in the middle of a request cannot be unwound; the process ends over it.
  if (engine->unfinished()) _exit(exit_code);
  engine.reset();
  worker_loop.end(kTasksEndS);
  python::WorkerLoop::destroy();
#ifdef UWSGI_TORNADO_DEBUG
  report_leak("fibers", suspend::Fiber::count());
  report_leak("coroutines", suspend::Coroutine::count());
  report_leak("watchers", loop::active_watchers);
#endif
  finalise_python();
#ifdef UWSGI_TORNADO_DEBUG
  // Only now: a module may keep a handle of the loop, which has references of its own.
  report_leak("transfers", python::live_transfers());
  report_leak("references", python::live_references);
#endif
  if (uwsgi.workers[uwsgi.mywid].shutdown_sockets) uwsgi_shutdown_all_sockets();
  exit(exit_code);
}

}  // namespace engine
