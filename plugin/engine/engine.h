// The engine of one worker: its loop, its cores, its sockets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugin/asgi/gathering.h"
#include "plugin/asgi/lifespan.h"
#include "plugin/blocking/redirection.h"
#include "plugin/engine/core.h"
#include "plugin/engine/core_pool.h"
#include "plugin/engine/listeners.h"
#include "plugin/engine/shutdown_signals.h"
#include "plugin/engine/signals.h"
#include "plugin/engine/spawned_threads.h"
#include "plugin/loop/io_loop.h"
#include "plugin/observe/block_watch.h"
#include "plugin/observe/fiber_dump.h"
#include "plugin/observe/harakiri_report.h"
#include "plugin/observe/metrics.h"
#include "plugin/python/gil_gate.h"
#include "plugin/python/preemption.h"
#include "plugin/python/thread_state.h"
#include "plugin/python/virtual_thread.h"
#include "plugin/request/request_host.h"
#include "plugin/uwsgi/python_requests.h"

namespace engine {

// Made in the worker, after the fork, on the thread that runs it; ends with the worker.
class Engine final : public RequestHost,
                     public loop::TurnObserver,
                     public PythonRequests,
                     private ConnectionObserver {
 public:
  // Takes the GIL and redirects the blocking calls. `loop` is what it turns, and outlives it.
  // Throws std::exception with the sentence to show when the worker cannot run here.
  explicit Engine(loop::IoLoop& loop);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Runs the start-up of the applications that have one, before any request. Returns a sentence that says why
  // the worker cannot serve; empty if it can.
  std::string start_applications() noexcept;
  // Serves until the worker is drained.
  void run() noexcept;

  // Stops accepting; run() returns once the requests in flight have ended. Idempotent.
  // From the loop's own stack.
  void drain() noexcept;
  // The same from anywhere on the loop's thread.
  void drain_soon() noexcept;
  // Drains in the next turn, so that connections that came before the reason for it are accepted first. The
  // process ends with `code`. Of several codes the highest counts: an end is more than a reload.
  void drain_to_exit(int code) noexcept {
    exit_code_ = std::max(exit_code_, code);
    drain_soon();
  }
  int exit_code() const noexcept { return exit_code_; }
  // How long a drain may take.
  int mercy_s() const noexcept;
  bool draining() const noexcept { return draining_; }
  // After run(): requests were left unfinished, so their fibers cannot be destroyed.
  bool unfinished() const noexcept { return unfinished_; }

  // The engine of this worker, or null before it runs and in a child of the worker.
  static Engine* instance() noexcept { return static_cast<Engine*>(RequestHost::instance()); }
  // In a child that the worker forked.
  static void forget_in_child() noexcept;

  const blocking::Redirection& redirection() const noexcept { return redirection_; }

  const python::Hub& hub() const noexcept { return hub_; }
  SpawnedThreads& spawned_threads() noexcept { return spawned_threads_; }
  Signals& signals() noexcept { return signals_; }
  std::size_t stack_size() const noexcept;
  Core& core_of(const wsgi_request* request) const noexcept { return pool_.of(request); }
  // Of a core or a side thread; null if the request has none.
  RequestThread* thread_of(const wsgi_request* request) noexcept;
  FiberDump& fiber_dump() noexcept { return fiber_dump_; }
  // Held by the request that loads an application.
  FiberLock& application_loading() noexcept { return application_loading_; }

  std::vector<RequestThread*> threads() const override;
  time_t harakiri_of(const RequestThread& thread) const noexcept override;
  std::uint64_t refused() const noexcept override { return listeners_.refused(); }
  void harakiri_set() noexcept override { harakiri_report_.look(); }

  // Called by a core: it is free; its kept-alive connection is idle; that connection is busy again.
  void core_is_free(Core& core) noexcept;
  void connection_is_idle() noexcept;
  void connection_is_busy() noexcept;
  CorePool& pool() noexcept { return pool_; }

  // Its request cannot run.
  void refuse(wsgi_request* request) noexcept { listeners_.refuse(request); }

  void turning() noexcept override;
  void falling_asleep() noexcept override;
  void awake() noexcept override;
  void python_begins(wsgi_request* request, PyObject* environ) noexcept override;
  void python_ends(wsgi_request* request) noexcept override;
  bool python_failed(wsgi_request* request) noexcept override;
  void python_called(PyObject* environ) noexcept override;
  void python_returned() noexcept override { end_if_child(0); }
  bool python_yielded(wsgi_request* request) noexcept override;
  bool may_keep_chunks(wsgi_request* request) noexcept override;
  void keep_chunk(wsgi_request* request, std::string_view chunk) noexcept override;
  void send_kept_chunks(wsgi_request* request) noexcept override;

 private:
  void connection_ends(wsgi_request* request) noexcept override;
  void connection_ended(wsgi_request* request) noexcept override;
  void open_async_queue() noexcept;
  void on_async_events(int) noexcept;
  void stop_if_drained() noexcept;
  void close_idle_connections() noexcept;
  void cut_off_requests() noexcept;
  void on_mercy_over() noexcept;

  python::Hub hub_;
  python::GilGate gate_;
  blocking::Redirection redirection_;
  CorePool pool_;
  Metrics metrics_;
  loop::IoWatcher<Engine, &Engine::on_async_events> async_queue_;
  loop::TimerWatcher<Engine, &Engine::close_idle_connections> idle_grace_;
  loop::TimerWatcher<Engine, &Engine::cut_off_requests> cut_off_timer_;
  loop::TimerWatcher<Engine, &Engine::on_mercy_over> mercy_;
  python::Watchdog watchdog_;
  python::Preemption preemption_;
  SpawnedThreads spawned_threads_;
  Signals signals_;
  ShutdownSignals shutdown_signals_;
  Listeners listeners_;
  FiberDump fiber_dump_;
  FiberLock application_loading_;
  HarakiriReport harakiri_report_;
  BlockWatch block_watch_;
  asgi::Lifespans lifespans_;
  asgi::Gathering gathering_;
  bool draining_ = false;
  bool unfinished_ = false;
  int exit_code_ = 0;
};

}  // namespace engine
