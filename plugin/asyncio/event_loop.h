// The asyncio event loop on the IoLoop.
#pragma once

#include <Python.h>

#include <memory>
#include <vector>

#include "plugin/asyncio/event_loop_fd.h"
#include "plugin/asyncio/event_loop_signals.h"
#include "plugin/asyncio/handle.h"
#include "plugin/asyncio/timer_heap.h"
#include "plugin/loop/io_loop.h"
#include "plugin/loop/watcher.h"
#include "plugin/python/py_ref.h"

namespace python {

// Event loops alive now, for leak checks.
inline long live_event_loops = 0;

// The C++ side of a Python object of the type uwsgi_tornado.EventLoop. That type inherits from
// asyncio's own selector loop, which brings transports, TLS, servers, subprocesses and the
// executor; what is called often, and the turning itself, is here.
//
// Who turns it. A loop with an IoLoop of its own is turned by run_forever(), on any thread. A
// loop attached to the IoLoop of a host (the worker's hub) runs its callbacks as one callback of
// that loop's, once a turn, and the host turns it: between begin_running() and end_running() it is
// running, and run_forever() says so.
//
// One turn is asyncio's: poll, events, due timers, then the callbacks that are ready by now; those
// they add wait for the next turn. Every member wants the GIL, which is given up only while
// a poll may sleep.
class EventLoop final : public loop::TurnObserver {
 public:
  // Called with SystemExit or KeyboardInterrupt pending, which a callback of an attached loop
  // raised and nobody is there to get. Clears it.
  using OnExit = void (*)() noexcept;

  // `self` is the Python object, borrowed. `host` is null, or outlives this loop.
  // Throws std::runtime_error when the kernel gives no descriptor.
  EventLoop(PyObject* self, loop::IoLoop* host, OnExit on_exit);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The C++ side of `object`, or null where that is no loop of ours.
  static EventLoop* of(PyObject* object) noexcept;

  PyObject* self() const noexcept { return self_; }
  TimerHeap& timers() noexcept { return timers_; }
  // REQUIRES: not closed.
  loop::IoLoop& io() noexcept;
  FdWatches& fds() noexcept;
  SignalWakeup& signals() noexcept;

  // --- What asyncio names so --------------------------------------------------------------

  PyRef call_soon(const Call& call);
  // Takes back what was scheduled last and has not begun, to be run otherwise; null when there is none.
  PyRef take_newest() noexcept;
  // Runs a handle here and now, as a turn would. REQUIRES: attached, and no callback runs.
  void run_now(PyRef handle) noexcept;
  // A callback runs: the task that may be current is not to be overtaken.
  bool runs_callbacks() const noexcept { return callbacks_run_; }
  // From any thread.
  PyRef call_soon_threadsafe(const Call& call);
  // `when_object` may be null.
  PyRef call_at(double when, PyObject* when_object, const Call& call);
  static double time() noexcept;
  // time() + delay_s. What is due at once comes by the clock of the turn, read once for all its callbacks.
  double time_in(double delay_s) noexcept;
  void run_forever();
  void stop() noexcept { stopping_ = true; }
  bool is_running() const noexcept { return thread_ident_ != 0; }
  bool is_closed() const noexcept { return closed_; }
  bool attached() const noexcept { return attached_; }
  bool debug() const noexcept { return debug_; }
  void set_debug(bool debug) noexcept { debug_ = debug; }
  void check_closed() const;
  // In debug mode: that the caller's thread is the loop's, and that the callback can be called.
  void check_call(const Call& call, const char* method, bool any_thread = false) const;

  // --- For its parts ----------------------------------------------------------------------

  // Runs `handle` in this turn, or in the next if this one's callbacks run already. It may be a
  // handle of asyncio's as well.
  void add_ready(PyRef handle);
  // The same from an event of the poll, whose events libev gives in reverse order.
  void add_polled(PyRef handle);
  // Lets a loop that sleeps look at what is ready. From any thread.
  void wake() noexcept;
  // One turn, as run_forever() makes them.
  void turn();

  // --- For the host -----------------------------------------------------------------------

  // From now on the present thread runs this loop: it is asyncio's running loop. Throws PyError.
  void begin_running();
  void end_running() noexcept;

  // In a child: this loop no longer shares descriptors with the parent's.
  void after_fork() noexcept;
  // The same for each loop, after a fork by Python.
  static void after_fork_in_child() noexcept;

  // --- Fields that asyncio's own code sets, and the garbage collector ----------------------

  void set_closed(bool closed) noexcept { closed_ = closed; }
  // After asyncio's close() has done its part: drops every callback and descriptor.
  void close() noexcept;
  // Before close(), as the process ends: calls that were to come later are forgotten, by their handles, too.
  void drop_timers() noexcept { timers_.drop(); }
  bool stopping() const noexcept { return stopping_; }
  void set_stopping(bool stopping) noexcept { stopping_ = stopping; }
  unsigned long thread_ident() const noexcept { return thread_ident_; }
  PyObject* current_handle() const noexcept { return current_handle_; }
  // Drops every callback: they are never called.
  void clear() noexcept;
  int traverse(visitproc visit, void* arg) const noexcept;

  void turning() noexcept override {}
  void falling_asleep() noexcept override;
  void awake() noexcept override;

 private:
  struct Io;

  void end_run(loop::TurnObserver* observer_before) noexcept;
  void take_polled();
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
  PyRef new_soon_handle(const Call& call) { return new_handle(handle_type(), *this, self_, call); }

  PyObject* const self_;
  const bool attached_;
  const OnExit on_exit_;

  std::vector<PyRef> ready_;
  std::vector<PyRef> batch_;  // Those that run in this turn; what lies before next_ has run.
  std::size_t next_ = 0;
  std::vector<PyRef> polled_;
  TimerHeap timers_;
  double timer_armed_for_ = 0;
  bool callbacks_run_ = false;
  double callbacks_time_ = 0;  // When one of those that run asked first; 0 before.
  int polls_to_look_ = 0;      // Of those to come, the last kLooksInARow only look.
  std::unique_ptr<Io> io_;

  unsigned long thread_ident_ = 0;
  PyThreadState* sleeping_state_ = nullptr;
  bool asleep_ = false;
  bool stopping_ = false;
  bool closed_ = false;
  bool debug_ = false;
  bool drain_asked_ = false;
  bool draining_ = false;
  PyObject* current_handle_ = nullptr;  // In debug mode, while it runs.
  PyRef asyncgen_hooks_before_;

  // Every loop, for a child after fork.
  EventLoop* next_loop_;
  EventLoop** previous_link_;
  static inline EventLoop* first_loop_ = nullptr;
};

// What needs an IoLoop; gone once closed.
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

// The type uwsgi_tornado.EventLoop, made on the first call; it imports asyncio. Throws PyError.
PyObject* event_loop_type();

// An EventLoop attached to `host`, which outlives it. Throws PyError, std::runtime_error.
PyRef make_attached_event_loop(loop::IoLoop& host, EventLoop::OnExit on_exit);

}  // namespace python
