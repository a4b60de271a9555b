#include "plugin/engine/engine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "plugin/asgi/connection.h"
#include "plugin/asyncio/executor.h"
#include "plugin/asyncio/stopping.h"
#include "plugin/engine/hooks.h"
#include "plugin/fetch/fetch_module.h"
#include "plugin/greenlet/greenlet.h"
#include "plugin/loop/clock.h"
#include "plugin/python/state_fields.h"
#include "plugin/uwsgi/engineio_driver.h"
#include "plugin/uwsgi/options.h"
#include "plugin/uwsgi/python_bridge.h"

namespace engine {
namespace {

// How long a drained worker still takes requests on connections it has not said it would close.
constexpr double kIdleGraceS = 1;

// How long before the end of the mercy a response that goes on is cut, and so closed, at most.
constexpr double kCutOffEarlyS = 2;

blocking::ObjectChoice object_choice() { return {options().suspend_libs, options().native_libs}; }

// The code that kept the GIL, for the log. Read and written with the GIL held.
std::string gil_hog;
double gil_kept_s = 0;

// On the watchdog's thread with the GIL, so no request changes meanwhile. The loop logs it: the
// watchdog's descriptors are not those the log is reopened on.
void note_gil_hog(double seconds, bool still_running) noexcept {
  const wsgi_request* request = uwsgi.wsgi_req;
  gil_kept_s = seconds;
  gil_hog = still_running && request->uri_len > 0 ? name_of(*request) : "a request";
}

void log_gil_hog() noexcept {
  uwsgi_log("tornado: %s kept the GIL for %.2f s: C code that does not release it cannot be preempted\n",
            gil_hog.c_str(), gil_kept_s);
  gil_hog.clear();
}

// In a child: makes the pages that hold `object` its own. uWSGI keeps requests in memory
// that processes share, so start_response() in the child would write into the worker's.
template <typename T>
void stop_sharing(T* object) noexcept {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(object) & ~(page - 1);
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(object + 1);
  const std::size_t size = (end - begin + page - 1) & ~(page - 1);
  void* copy = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return;
  std::memcpy(copy, reinterpret_cast<void*>(begin), size);
  mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, begin);
}

// Workers start with the same libraries: the first names them. What is loaded later each names itself.
bool started = false;

void name_unlisted(const blocking::Redirection::Unlisted& library) noexcept {
  if (!started && uwsgi.mywid != 1) return;
  uwsgi_log(
      "tornado: %s calls %.*s(), but its calls do not suspend: it may block the worker (see "
      "--tornado-suspend-lib, --tornado-native-lib)\n",
      library.name.c_str(), static_cast<int>(library.calls[0].size()), library.calls[0].data());
}

}  // namespace

Engine::Engine(loop::IoLoop& loop)
    : RequestHost(loop),
      hub_((take_over_gil(), python::Hub())),
      gate_(hub_, loop),
      redirection_(object_choice(), options().native_blocking, python::Preemption::calls(), name_unlisted),
      metrics_(*this),
      async_queue_(loop.raw(), this),
      idle_grace_(loop.raw(), this),
      cut_off_timer_(loop.raw(), this),
      mercy_(loop.raw(), this),
      // If waits for locks block, no request may give way while it holds a lock.
      preemption_(options().native_blocking ? 0 : options().quantum_ms * 1e-3, note_gil_hog),
      spawned_threads_(*this),
      signals_(*this),
      shutdown_signals_(*this),
      listeners_(loop, pool_, metrics_, *this),
      fiber_dump_(*this),
      harakiri_report_(*this),
      block_watch_(options().block_warn_ms * 1e-3, watchdog_),
      gathering_(options().quantum_ms * 1e-3, watchdog_) {
  loop.observe(this);
  python::announce_main_state();
  redirection_.look();
  started = true;
  for (int i = 0; i < uwsgi.async; ++i) {
    pool_.add(std::make_unique<Core>(*this, &uwsgi.workers[uwsgi.mywid].cores[i].req));
  }
  open_async_queue();
  signals_.start();
  watch_requests(this);
  install_hooks();
  install_locks();
  pthread_atfork(nullptr, nullptr, &Engine::forget_in_child);
  blocking::open_gate(&gate_, &loop);
  python::set_spawner(&spawned_threads_);
  python::set_worker_view(&fiber_dump_);
  harakiri_report_.start();
  serve();
  shutdown_signals_.start();
  if (!preemption_.start(watchdog_) && options().quantum_ms > 0 && !options().native_blocking) {
    uwsgi_log(
        "tornado: computing requests are not preempted: the plugin does not know how this Python takes its "
        "GIL\n");
  }
  watchdog_.start();
}

Engine::~Engine() {
  // After the mercy is over requests stand where they are, and so do their greenlets.
  if (!unfinished_) python::end_greenlets_of_loop();
  watchdog_.stop();
  blocking::open_gate(nullptr, nullptr);
  python::set_spawner(nullptr);
  python::set_worker_view(nullptr);
  python::withdraw_main_state();
  loop().observe(nullptr);
  stop_serving();
}

// A child of the worker (os.fork() in a request) has this thread only: no loop, no other
// fiber. Its blocking calls block and its waits poll, as in any process.
void Engine::forget_in_child() noexcept {
  python::set_spawner(nullptr);
  python::set_worker_view(nullptr);
  if (RequestThread* thread = RequestThread::current()) stop_sharing(thread->request());
  blocking::open_gate(nullptr, nullptr);
  python::Preemption::forget_in_child();
  BlockWatch::stop_noting();
  RequestHost::forget_in_child();
}

std::size_t Engine::stack_size() const noexcept { return options().stack_size; }

std::string Engine::start_applications() noexcept {
  std::string why_not;
  lifespans_.begin();
  while (!lifespans_.started(why_not) && !draining_) loop().turn();
  return why_not;
}

void Engine::run() noexcept {
  if (!draining_) listeners_.pause_or_listen();
  loop().run();
}

// --- Round each turn ----------------------------------------------------------------------

// The loop's thread is Python's main thread: signal handlers and pending calls run here.
void Engine::turning() noexcept {
  read_clocks();
  metrics_.turning();
  note_switch();
  if (draining_) stop_if_drained();  // A fetch may have been the last.
  if (!gil_hog.empty()) log_gil_hog();
  if (Py_MakePendingCalls() < 0) report_python_error();
#if PY_VERSION_HEX >= 0x030E0000
  // Runs what sys.remote_exec() has asked of the process (PEP 768), too.
  if (PyErr_CheckSignals() < 0) report_python_error();
#endif
}

void Engine::falling_asleep() noexcept {
  metrics_.falling_asleep();
  BlockWatch::asleep();
  sleeps(true);
  PyEval_SaveThread();
}

void Engine::awake() noexcept {
  read_clocks();
  metrics_.awake();
  BlockWatch::wants_gil();
  PyEval_RestoreThread(hub_.state());
  sleeps(false);
  note_switch();
}

// --- Connections --------------------------------------------------------------------------

void Engine::core_is_free(Core& core) noexcept {
  pool_.give_back(core);
  if (draining_) stop_if_drained();
  else listeners_.pause_or_listen();
}

void Engine::connection_is_idle() noexcept {
  if (draining_ && !idle_grace_.active()) idle_grace_.start(std::min(kIdleGraceS, mercy_s() * 0.1));
  listeners_.pause_or_listen();
}

void Engine::connection_is_busy() noexcept { listeners_.pause_or_listen(); }

void Engine::connection_ends(wsgi_request* request) noexcept { core_of(request).connection_ends(); }

void Engine::connection_ended(wsgi_request* request) noexcept { core_of(request).connection_ended(); }

// --- uWSGI's async API: requests that wait for descriptors and timeouts of their own --------

void Engine::open_async_queue() noexcept {
  uwsgi.async_queue = event_queue_init();
  uwsgi.rb_async_timeouts = uwsgi_init_rb_timer();
  const std::size_t table = sizeof(wsgi_request*) * static_cast<std::size_t>(uwsgi.max_fd);
  if (uwsgi.async_waiting_fd_table == nullptr) {
    uwsgi.async_waiting_fd_table = static_cast<wsgi_request**>(uwsgi_calloc(table));
  }
  if (uwsgi.async_proto_fd_table == nullptr) {
    uwsgi.async_proto_fd_table = static_cast<wsgi_request**>(uwsgi_calloc(table));
  }
  // epoll descriptors nest: uWSGI's is ready when one of its own is.
  async_queue_.start(uwsgi.async_queue, EV_READ);
}

void Engine::on_async_events(int) noexcept {
  constexpr int kEventsPerLook = 64;
  static void* const events = event_queue_alloc(kEventsPerLook);
  const int count = event_queue_wait_multi(uwsgi.async_queue, 0, events, kEventsPerLook);
  for (int i = 0; i < count; ++i) {
    const int fd = event_queue_interesting_fd(events, i);
    const wsgi_request* request = find_wsgi_req_by_fd(fd);
    RequestThread* const thread = request == nullptr ? nullptr : thread_of(request);
    // Otherwise nobody waits for it.
    if (thread != nullptr) thread->async_wait().on_ready(fd);
    else event_queue_del_fd(uwsgi.async_queue, fd, event_queue_read());
  }
}

// The request of a side thread has no core, whatever its async_id says.
RequestThread* Engine::thread_of(const wsgi_request* request) noexcept {
  const Core& core = core_of(request);
  return core.request() == request ? core.thread() : spawned_threads_.thread_of(request);
}

std::vector<RequestThread*> Engine::threads() const {
  std::vector<RequestThread*> found;
  for (const auto& core : pool_.all()) {
    if (core->runs()) found.push_back(core->thread());
  }
  const std::vector<RequestThread*> beside = spawned_threads_.all_running();
  found.insert(found.end(), beside.begin(), beside.end());
  return found;
}

time_t Engine::harakiri_of(const RequestThread& thread) const noexcept {
  const Core& core = core_of(thread.request());
  const time_t by_option = core.thread() == &thread ? core.harakiri() : 0;
  const time_t by_user = thread.user_harakiri();
  return by_option == 0 || (by_user != 0 && by_user < by_option) ? by_user : by_option;
}

// --- Python's part of a request -----------------------------------------------------------

void Engine::python_begins(wsgi_request* request, PyObject* environ) noexcept {
  core_of(request).python_begins(environ);
}

void Engine::python_called(PyObject* environ) noexcept {
  if (RequestThread* const thread = RequestThread::current()) thread->limits().read(environ);
}

void Engine::python_ends(wsgi_request* request) noexcept { core_of(request).python_ends(); }

bool Engine::python_yielded(wsgi_request* request) noexcept {
  end_if_child(0);
  return core_of(request).python_yielded();
}

bool Engine::may_keep_chunks(wsgi_request* request) noexcept {
  return options().coalesce && core_of(request).coalesced().possible();
}

void Engine::keep_chunk(wsgi_request* request, std::string_view chunk) noexcept {
  end_if_child(0);
  core_of(request).coalesced().add(chunk);
}

void Engine::send_kept_chunks(wsgi_request* request) noexcept {
  CoalescedChunks& chunks = core_of(request).coalesced();
  if (chunks.size() == 0) return;
  end_if_child(0);
  chunks.flush();
}

bool Engine::python_failed(wsgi_request* request) noexcept {
  end_if_child(1);
  return core_of(request).python_failed();
}

// --- The end ------------------------------------------------------------------------------

void Engine::drain() noexcept {
  if (!draining_) {
    draining_ = true;
    uwsgi.workers[uwsgi.mywid].manage_next_request = 0;
    listeners_.stop();
    pool_.leave();
    signals_.stop();
    const double mercy = mercy_s();
    mercy_.start(mercy);
    cut_off_timer_.start(mercy - std::min(kCutOffEarlyS, mercy * 0.1));
    // Their clients may be about to ask: they have a moment for it, and then are told.
    if (!pool_.idle().empty()) idle_grace_.start(std::min(kIdleGraceS, mercy * 0.1));
    python::set_stopping();
    for (auto& core : pool_.all()) core->going_away();
    if (engineio_is_used()) spawned_threads_.spawn([](void*) noexcept { end_engineio_tasks(); }, nullptr);
  }
  stop_if_drained();
}

int Engine::mercy_s() const noexcept {
  return uwsgi.worker_reload_mercy > 0 ? uwsgi.worker_reload_mercy : 60;
}

void Engine::close_idle_connections() noexcept {
  while (Core* core = pool_.take_idle()) pool_.give_back(*core);
  stop_if_drained();
}

// Generators without an end are closed as if their client had left; waiting requests are interrupted.
// Requests that wait again, or compute, are lost.
void Engine::cut_off_requests() noexcept {
  for (auto& core : pool_.all()) core->cut_off();
}

void Engine::drain_soon() noexcept {
  loop().add_callback({[](void* engine) noexcept { static_cast<Engine*>(engine)->drain(); }, this});
}

void Engine::stop_if_drained() noexcept {
  const bool idle = CorePool::taken() == 0 && spawned_threads_.running() == spawned_threads_.idle();
  // Tasks without a request may still be fetching.
  if (!idle || python::fetches_in_flight(loop()) != 0) return;
  if (asgi::applications_beside_requests() != 0 || !lifespans_.ended()) return;
  if (spawned_threads_.idle() == 0) loop().stop();
  else python::end_idle_executor_threads();
}

void Engine::on_mercy_over() noexcept {
  uwsgi_log("tornado: worker %d (pid: %d) ends with %d requests unfinished: worker-reload-mercy is over\n",
            uwsgi.mywid, uwsgi.mypid, CorePool::taken());
  unfinished_ = true;
  loop().stop();
}

}  // namespace engine
