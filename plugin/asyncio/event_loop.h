// An asyncio event loop that runs on an IoLoop.
#pragma once

#include <Python.h>

#include <memory>
#include <vector>

#include "plugin/asyncio/event_loop_fd.h"
#include "plugin/asyncio/event_loop_signals.h"
#include "plugin/asyncio/handle.h"
#include "plugin/asyncio/kept_writes.h"
#include "plugin/asyncio/timer_heap.h"
#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"
#include "suspend/thread_pointer.h"

namespace python {

// How many event loops exist, for leak checks.
inline long live_event_loops = 0;

// The C++ side of a Python object of the type uwsgi_tornado.EventLoop. That type inherits from
// asyncio's selector loop, which provides transports, TLS, servers, subprocesses and the executor.
// This class implements the turns of the loop and the methods that are called often.
//
// Who runs it. A loop with an IoLoop of its own is run by run_forever(), on any thread. A loop that is
// attached to the IoLoop of a host (the worker's hub) is run by the host: all its callbacks are one
// callback of the IoLoop, called once a turn. It is running from begin_running() to end_running(), and
// run_forever() raises RuntimeError meanwhile.
//
// A turn has asyncio's order: poll, events, due timers, then the callbacks that are ready. Callbacks
// added meanwhile wait for the next turn. Every member needs the GIL; only a poll that may sleep
// releases it.
class EventLoop final : public loop::TurnObserver {
 public:
  // Called with SystemExit or KeyboardInterrupt pending, raised by a callback of an attached loop, which has
  // no caller to raise it to. Clears the exception.
  using OnExit = void (*)() noexcept;

  // `self` is the Python object, borrowed. `host` is null, or outlives this loop.
  // Throws std::runtime_error if the kernel has no descriptor left.
  EventLoop(PyObject* self, loop::IoLoop* host, OnExit on_exit);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The C++ side of `object`, or null if it is not an EventLoop.
  static EventLoop* of(PyObject* object) noexcept;

  PyObject* self() const noexcept { return self_; }
  TimerHeap& timers() noexcept { return timers_; }
  // REQUIRES: not closed.
  loop::IoLoop& io() noexcept;
  FdWatches& fds() noexcept;
  SignalWakeup& signals() noexcept;

  // --- asyncio's methods ------------------------------------------------------------------

  PyRef call_soon(const Call& call);
  // Removes and returns the handle that was scheduled last, if it has not begun, so that the caller runs it;
  // else null.
  PyRef take_newest() noexcept;
  // Runs a handle at once, as a turn would. REQUIRES: attached, and no callback is running.
  void run_now(PyRef handle) noexcept;
  // Whether a callback is running. If so, a task may be current, and no other may run before it returns.
  bool runs_callbacks() const noexcept { return callbacks_on_ != 0; }
  // Whether the caller is such a callback: no other thread, and no fiber.
  bool in_callback() const noexcept { return callbacks_on_ == suspend::current_thread_pointer(); }
  // What the running callback has written. REQUIRES: in_callback().
  KeptWrites& kept_writes() noexcept { return kept_writes_; }
  // From any thread.
  PyRef call_soon_threadsafe(const Call& call);
  // `when_object` may be null.
  PyRef call_at(double when, PyObject* when_object, const Call& call);
  PyRef create_future();
  static double time() noexcept;
  // time() + delay_s. Callbacks of one turn share a reading of the clock, so a delay of 0 costs none.
  double time_in(double delay_s) noexcept;
  void run_forever();
  void stop() noexcept { stopping_ = true; }
  bool is_running() const noexcept { return thread_ident_ != 0; }
  bool is_closed() const noexcept { return closed_; }
  bool attached() const noexcept { return attached_; }
  bool debug() const noexcept { return debug_; }
  void set_debug(bool debug) noexcept { debug_ = debug; }
  void check_closed() const;
  // Throws PyError, as asyncio's _ensure_fd_no_transport(), where a transport has the descriptor.
  void check_no_transport(long fd);
  // In debug mode: checks that the caller is on the loop's thread and that the callback is callable.
  // Throws PyError.
  void check_call(const Call& call, const char* method, bool any_thread = false) const;

  // --- For its members --------------------------------------------------------------------

  // Runs `handle`, which may be asyncio's own type, in this turn, or in the next one if this turn's
  // callbacks have begun.
  void add_ready(PyRef handle);
  // The same for a descriptor's event. libev reports those in reverse order, which this undoes.
  void add_polled(PyRef handle);
  // Wakes the loop if it sleeps. From any thread.
  void wake() noexcept;
  // Makes one turn of run_forever().
  void turn();

  // --- For the host -----------------------------------------------------------------------

  // Makes this loop asyncio's running loop of the calling thread. Throws PyError.
  void begin_running();
  void end_running() noexcept;

  // In a forked child: gives this loop descriptors of its own.
  void after_fork() noexcept;
  // Has Python call that for every loop in children of os.fork(), before which all that callbacks have
  // written is sent. Throws PyError.
  static void watch_for_forks();

  // --- For asyncio's code, which sets fields, and the garbage collector --------------------

  void set_closed(bool closed) noexcept { closed_ = closed; }
  // The last part of close(): drops every callback and descriptor.
  void close() noexcept;
  // Before close(), as the process ends: drops all timers and detaches their handles.
  void drop_timers() noexcept { timers_.drop(); }
  bool stopping() const noexcept { return stopping_; }
  void set_stopping(bool stopping) noexcept { stopping_ = stopping; }
  unsigned long thread_ident() const noexcept { return thread_ident_; }
  PyObject* current_handle() const noexcept { return current_handle_; }
  // Drops every callback without calling it.
  void clear() noexcept;
  int traverse(visitproc visit, void* arg) const noexcept;

  void turning() noexcept override {}
  void falling_asleep() noexcept override;
  void awake() noexcept override;

 private:
  struct Io;
  class CallbacksRun;

  void end_run(loop::TurnObserver* observer_before) noexcept;
  void take_polled();
  static bool take_at_once(PyObject* polled);
  void take_due();
  void arm_timer() noexcept;
  void sleep_or_look() noexcept;
  void run_ready();
  void run_one(PyObject* handle);
  void run_one_in_debug_mode(PyObject* handle);
  void ask_for_drain();
  void drain() noexcept;
  void exited() noexcept;
  static void on_drain(void* self) noexcept;
  static void on_drain_asked(void* self) noexcept;
  void on_timer() noexcept;
  void on_woken() noexcept {}
  PyRef thread_safe(PyRef& handle);
  PyRef new_soon_handle(const Call& call) { return new_handle(handle_type(), *this, self_, call); }

  PyObject* const self_;
  const bool attached_;
  const OnExit on_exit_;

  std::vector<PyRef> ready_;
  std::vector<PyRef> batch_;  // The callbacks of this turn; those before next_ have run.
  std::size_t next_ = 0;
  std::vector<PyRef> polled_;
  TimerHeap timers_;
  double timer_armed_for_ = 0;
  suspend::ThreadPointer callbacks_on_ = 0;  // The thread that runs one; 0 while none runs.
  KeptWrites kept_writes_;
  double callbacks_time_ = 0;  // The clock as the first callback of this turn read it; 0 before.
  int polls_to_look_ = 0;      // How many polls to come; the last kLooksInARow of them do not sleep.
  std::unique_ptr<Io> io_;

  unsigned long thread_ident_ = 0;
  PyThreadState* sleeping_state_ = nullptr;
  bool asleep_ = false;
  bool stopping_ = false;
  bool closed_ = false;
  bool debug_ = false;
  bool drain_asked_ = false;
  bool draining_ = false;
  PyObject* current_handle_ = nullptr;  // The handle that is running, in debug mode only.
  PyRef asyncgen_hooks_before_;
  PyRef transports_by_fd_;  // asyncio's dict of them, weak ones; null before it is needed.
  PyRef future_options_;    // {'loop': this one}; null before it is needed.

  // The list of all loops, for forks.
  EventLoop* next_loop_;
  EventLoop** previous_link_;
  static inline EventLoop* first_loop_ = nullptr;
};

// The members that need an IoLoop. Destroyed by close().
struct EventLoop::Io {
  Io(EventLoop& owner, loop::IoLoop* host);

  const std::unique_ptr<loop::IoLoop> owned;
  loop::IoLoop& loop;
  loop::TimerWatcher<EventLoop, &EventLoop::on_timer> timer;
  loop::AsyncWatcher<EventLoop, &EventLoop::on_woken> woken;
  FdWatches fds;
  SignalWakeup signals;
};

inline loop::IoLoop& EventLoop::io() noexcept { return io_->loop; }
inline FdWatches& EventLoop::fds() noexcept { return io_->fds; }
inline SignalWakeup& EventLoop::signals() noexcept { return io_->signals; }

// The type uwsgi_tornado.EventLoop. The first call makes it and imports asyncio. Throws PyError.
PyObject* event_loop_type();

// Makes an EventLoop attached to `host`, which must outlive it. Throws PyError, std::runtime_error.
PyRef make_attached_event_loop(loop::IoLoop& host, EventLoop::OnExit on_exit);

}  // namespace python
