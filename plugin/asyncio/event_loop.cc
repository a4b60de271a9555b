#include "plugin/asyncio/event_loop.h"

#include <algorithm>

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/asyncio/sock_operation.h"
#include "plugin/blocking/gate.h"
#include "plugin/loop/clock.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

// libev counts in doubles, and a wait of years overflows the kernel's milliseconds.
constexpr double kSleepsMostS = 24 * 3600;
constexpr int kLooksInARow = 16;
constexpr int kPollsAfterVainLook = 64;
// asyncio's: the resolution of the clock.
constexpr double kResolutionS = 1e-9;

void track_coroutine_origins(PyObject* loop, bool on) {
  py_check(PyObject_CallMethod(loop, "_set_coroutine_origin_tracking", "O", on ? Py_True : Py_False));
}

}  // namespace

// While this lives, callbacks run.
class EventLoop::CallbacksRun {
 public:
  explicit CallbacksRun(EventLoop& loop) noexcept : loop_(loop) {
    loop_.callbacks_on_ = suspend::current_thread_pointer();
  }
  ~CallbacksRun() {
    loop_.callbacks_on_ = 0;
    if (!loop_.kept_writes_.empty()) loop_.kept_writes_.send_untold();  // That of one that raised.
  }
  CallbacksRun(const CallbacksRun&) = delete;
  CallbacksRun& operator=(const CallbacksRun&) = delete;

 private:
  EventLoop& loop_;
};

EventLoop::Io::Io(EventLoop& owner, loop::IoLoop* host)
    : owned(host == nullptr ? std::make_unique<loop::IoLoop>() : nullptr),
      loop(host == nullptr ? *owned : *host),
      timer(loop.raw(), &owner),
      woken(loop.raw(), &owner),
      fds(owner),
      signals(owner, loop) {
  woken.start();
}

EventLoop::EventLoop(PyObject* self, loop::IoLoop* host, OnExit on_exit)
    : self_(self),
      attached_(host != nullptr),
      on_exit_(on_exit),
      kept_writes_(attached_),
      io_(std::make_unique<Io>(*this, host)),
      next_loop_(first_loop_),
      previous_link_(&first_loop_) {
  if (next_loop_ != nullptr) next_loop_->previous_link_ = &next_loop_;
  first_loop_ = this;
  ++live_event_loops;
}

EventLoop::~EventLoop() {
  clear();
  if (next_loop_ != nullptr) next_loop_->previous_link_ = previous_link_;
  *previous_link_ = next_loop_;
  --live_event_loops;
}

void EventLoop::after_fork() noexcept {
  if (!io_) return;
  signals().after_fork();
  if (!attached()) io().after_fork();
}

double EventLoop::time() noexcept { return loop::monotonic_s(); }

double EventLoop::time_in(double delay_s) noexcept {
  if (delay_s > 0 || callbacks_on_ == 0) return time() + delay_s;
  if (callbacks_time_ == 0) callbacks_time_ = time();
  return callbacks_time_ + delay_s;
}

// --- Scheduling -----------------------------------------------------------------------------

void EventLoop::check_closed() const {
  if (closed_) raise(PyExc_RuntimeError, "Event loop is closed");
}

void EventLoop::check_no_transport(long fd) {
  if (!transports_by_fd_) {
    const PyRef transports = py_check(PyObject_GetAttrString(self_, "_transports"));
    transports_by_fd_ = py_check(PyObject_GetAttrString(transports.get(), "data"));
  }
  if (PyDict_Size(transports_by_fd_.get()) == 0) return;
  const PyRef number = py_check(PyLong_FromLong(fd));
  if (PyDict_GetItemWithError(transports_by_fd_.get(), number.get()) != nullptr) {
    py_check(
        PyObject_CallMethod(asyncio_names().base_loop, "_ensure_fd_no_transport", "OO", self_, number.get()));
  }
  if (PyErr_Occurred()) throw PyError{};
}

void EventLoop::check_call(const Call& call, const char* method, bool any_thread) const {
  // A request is a thread of its own to Python, but runs where the worker's loop runs.
  const bool safe = any_thread || (attached() && blocking::on_loop_thread());
  if (!safe && thread_ident_ != 0 && thread_ident_ != PyThread_get_thread_ident()) {
    raise(PyExc_RuntimeError,
          "Non-thread-safe operation invoked on an event loop other than the current one");
  }
  py_check(PyObject_CallMethod(self_, "_check_callback", "Os", call.callback, method));
}

PyRef EventLoop::call_soon(const Call& call) {
  check_closed();
  if (debug_) check_call(call, "call_soon");
  PyRef handle = new_soon_handle(call);
  add_ready(handle);
  return handle;
}

PyRef EventLoop::take_newest() noexcept {
  if (ready_.empty()) return {};
  PyRef newest = std::move(ready_.back());
  ready_.pop_back();
  return newest;
}

void EventLoop::run_now(PyRef handle) noexcept {
  callbacks_time_ = 0;
  const CallbacksRun callbacks_run(*this);
  try {
    if (debug_) run_one_in_debug_mode(handle.get());
    else run_one(handle.get());
    kept_writes_.send();
  } catch (const PyError&) {
    exited();
  }
}

PyRef EventLoop::call_soon_threadsafe(const Call& call) {
  check_closed();
  if (debug_) check_call(call, "call_soon_threadsafe", true);
  PyRef handle = new_soon_handle(call);
  const PyRef given = asyncio_names().thread_safe_handle ? thread_safe(handle) : handle;
  // Not add_ready(): what an attached loop asks its host for is for the loop's thread only.
  ready_.push_back(std::move(handle));
  wake();
  return given;
}

// From CPython 3.14 on a handle that another thread cancels waits for the end of its callback, which has
// begun. It is asyncio's own: `handle` becomes the one that runs it.
PyRef EventLoop::thread_safe(PyRef& handle) {
  const HandleState& state = as_handle(handle.get())->state;
  PyRef safe = py_check(PyObject_CallFunctionObjArgs(asyncio_names().thread_safe_handle, state.callback.get(),
                                                     as_handle(handle.get())->args_tuple().get(), self_,
                                                     state.context.get(), nullptr));
  if (state.source_traceback) {  // Its own ends in asyncio's constructor.
    py_check_status(PyObject_SetAttrString(safe.get(), "_source_traceback", state.source_traceback.get()));
  }
  const PyRef run = py_check(PyObject_GetAttrString(safe.get(), "_run"));
  handle = new_soon_handle({run.get(), nullptr, 0, nullptr});
  return safe;
}

PyRef EventLoop::call_at(double when, PyObject* when_object, const Call& call) {
  check_closed();
  if (debug_) check_call(call, "call_at");
  PyRef ref = new_handle(timer_handle_type(), *this, self_, call);
  Handle& handle = *as_handle(ref.get());
  handle.state.when = when;
  if (when_object != nullptr) handle.state.when_object = PyRef::borrow(when_object);
  timers_.add(handle);
  // One that comes first sets libev's timer: an attached loop does so at the end of its turn.
  if (attached() && handle.state.scheduled_at == 0) ask_for_drain();
  return ref;
}

PyRef EventLoop::create_future() {
  static PyObject* const no_arguments = py_check(PyTuple_New(0)).release();
  static PyObject* const name = py_check(PyUnicode_InternFromString("loop")).release();
  if (!future_options_) {
    future_options_ = py_check(PyDict_New());
    py_check_status(PyDict_SetItem(future_options_.get(), name, self_));
  }
  return py_check(PyObject_Call(asyncio_names().future, no_arguments, future_options_.get()));
}

void EventLoop::add_ready(PyRef handle) {
  ready_.push_back(std::move(handle));
  if (attached()) ask_for_drain();
}

void EventLoop::add_polled(PyRef handle) {
  polled_.push_back(std::move(handle));
  if (attached()) ask_for_drain();
}

void EventLoop::wake() noexcept {
  if (!attached()) {
    if (asleep_) io_->woken.send();
  } else if (io_ && !drain_asked_ && !draining_) {
    io().add_callback_threadsafe({&on_drain_asked, this});
  }
}

// --- One turn -------------------------------------------------------------------------------

void EventLoop::run_forever() {
  check_closed();
  if (is_running()) raise(PyExc_RuntimeError, "This event loop is already running");
  const PyRef other = get_running_loop();
  if (other.get() != Py_None)
    raise(PyExc_RuntimeError, "Cannot run the event loop while another loop is running");
  if (VirtualThread::current() != nullptr) {
    raise(PyExc_RuntimeError,
          "a uwsgi_tornado.EventLoop cannot run inside a request, because it would block all others. "
          "asyncio.run() with asyncio's own loop suspends only the request");
  }
  // Also where it ends for want of memory, a std::bad_alloc.
  struct RunEnds {
    EventLoop& self;
    loop::TurnObserver* const observer_before;
    ~RunEnds() { self.end_run(observer_before); }
  };
  const RunEnds at_last{*this, io().observe(this)};
  begin_running();
  do turn();
  while (!stopping_);
}

void EventLoop::end_run(loop::TurnObserver* observer_before) noexcept {
  const ErrorAside error;
  end_running();
  io().observe(observer_before);
  if (PyErr_Occurred()) PyErr_WriteUnraisable(nullptr);
}

void EventLoop::begin_running() {
  const AsyncioNames& names = asyncio_names();
  track_coroutine_origins(self_, debug_);
  asyncgen_hooks_before_ = py_check(PyObject_CallObject(names.get_asyncgen_hooks, nullptr));
  thread_ident_ = PyThread_get_thread_ident();
  const PyRef first = py_check(PyObject_GetAttrString(self_, "_asyncgen_firstiter_hook"));
  const PyRef last = py_check(PyObject_GetAttrString(self_, "_asyncgen_finalizer_hook"));
  py_check(PyObject_CallFunctionObjArgs(names.set_asyncgen_hooks, first.get(), last.get(), nullptr));
  set_running_loop(self_);
  if (io_) signals().run_begins();  // An application may have closed it at import.
  if (attached() && (!ready_.empty() || !timers_.empty())) ask_for_drain();
}

void EventLoop::end_running() noexcept {
  if (io_) signals().run_ends();
  stopping_ = false;
  thread_ident_ = 0;
  try {
    const AsyncioNames& names = asyncio_names();
    set_running_loop(Py_None);
    track_coroutine_origins(self_, false);
    const PyRef hooks = std::move(asyncgen_hooks_before_);
    if (hooks) py_check(PyObject_CallObject(names.set_asyncgen_hooks, hooks.get()));
  } catch (const PyError&) {
    PyErr_WriteUnraisable(self_);
  }
}

void EventLoop::turn() {
  check_closed();
  const bool may_sleep = ready_.empty() && polled_.empty() && next_ == batch_.size() && !stopping_ &&
                         (timers_.empty() || timers_.earliest() > time() + kResolutionS);
  if (may_sleep) sleep_or_look();
  else io().poll(false);
  py_check_status(PyErr_CheckSignals());
  take_polled();
  take_due();
  run_ready();
}

// A poll that may sleep hands the GIL over and has the kernel set a timer up. Where events follow
// each other closely one that only looks finds them for less, so looks go on while they find
// something. The one in sixteen that may sleep lets other threads have the GIL.
void EventLoop::sleep_or_look() noexcept {
  if (--polls_to_look_ > 0 && polls_to_look_ < kLooksInARow) {
    io().poll(false);
    if (!polled_.empty() || !ready_.empty()) return;
    polls_to_look_ = kLooksInARow + kPollsAfterVainLook;
  }
  arm_timer();
  io().poll(true);
  if (polls_to_look_ <= 0) polls_to_look_ = kLooksInARow;
}

void EventLoop::falling_asleep() noexcept {
  asleep_ = true;
  sleeping_state_ = PyEval_SaveThread();
}

void EventLoop::awake() noexcept {
  PyEval_RestoreThread(sleeping_state_);
  asleep_ = false;
}

// True where the event has come to its end: an operation, or asyncio's own stream, whose futures' callbacks
// are then of this turn. REQUIRES: nothing is ready that was so before the event.
bool EventLoop::take_at_once(PyObject* polled) {
  if (is_sock_operation(polled)) {
    sock_operation_ready(polled);
    return true;
  }
  const Handle* const handle = as_handle(polled);
  return handle != nullptr && handle->state.taker != nullptr && !handle->state.cancelled &&
         handle->state.taker->take_event();
}

// What became ready before an event comes before it: it may cancel whoever waits, or pause a transport.
void EventLoop::take_polled() {
  bool at_once = ready_.empty() && next_ == batch_.size();
  while (!polled_.empty()) {
    PyRef polled = std::move(polled_.back());
    polled_.pop_back();
    if (!polled || (at_once && take_at_once(polled.get()))) continue;
    ready_.push_back(std::move(polled));
    at_once = false;
  }
  signals().handle_signals();
}

void EventLoop::take_due() {
  if (timers_.empty()) return;
  const double end = time() + kResolutionS;
  while (!timers_.empty() && timers_.earliest() < end) ready_.push_back(timers_.take_earliest());
}

// libev's one timer for the earliest of ours.
void EventLoop::arm_timer() noexcept {
  if (timers_.empty()) {
    io_->timer.stop();
    return;
  }
  const double when = timers_.earliest();
  if (io_->timer.active() && timer_armed_for_ == when) return;
  io_->timer.stop();
  timer_armed_for_ = when;
  io_->timer.start(std::min(when - time(), kSleepsMostS));
}

void EventLoop::on_timer() noexcept {
  if (attached()) ask_for_drain();
}

// Callbacks that these add are for the next turn. One that ends the run leaves the others to it.
void EventLoop::run_ready() {
  if (next_ == batch_.size()) {
    batch_.clear();
    batch_.swap(ready_);
  } else {
    batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(next_));
    std::move(ready_.begin(), ready_.end(), std::back_inserter(batch_));
    ready_.clear();
  }
  next_ = 0;
  callbacks_time_ = 0;
  const CallbacksRun callbacks_run(*this);
  while (next_ < batch_.size()) {
    const PyRef handle = std::move(batch_[next_++]);
    if (is_sock_operation(handle.get())) sock_operation_ready(handle.get());
    else if (debug_) run_one_in_debug_mode(handle.get());
    else run_one(handle.get());
    kept_writes_.send();
  }
}

void EventLoop::run_one(PyObject* object) {
  if (Handle* handle = as_handle(object)) {
    if (!handle->state.cancelled) handle->run();
    return;
  }
  const PyRef cancelled = py_check(PyObject_GetAttrString(object, "_cancelled"));
  if (!PyObject_IsTrue(cancelled.get())) py_check(PyObject_CallMethod(object, "_run", nullptr));
}

void EventLoop::run_one_in_debug_mode(PyObject* handle) {
  struct Current {
    PyObject*& current;
    Current(PyObject*& where, PyObject* handle) noexcept : current(where) { current = handle; }
    ~Current() { current = nullptr; }
  } const current(current_handle_, handle);
  const double before = time();
  run_one(handle);
  const double took = time() - before;
  const PyRef limit = py_check(PyObject_GetAttrString(self_, "slow_callback_duration"));
  const double limit_s = PyFloat_AsDouble(limit.get());
  if (PyErr_Occurred()) throw PyError{};
  if (took < limit_s) return;
  const PyRef shown =
      py_check(PyObject_CallMethod(asyncio_names().base_events, "_format_handle", "O", handle));
  const PyRef logger = py_check(PyObject_GetAttrString(asyncio_names().base_events, "logger"));
  py_check(PyObject_CallMethod(logger.get(), "warning", "sOd", "Executing %s took %.3f seconds", shown.get(),
                               took));
}

// --- Attached -------------------------------------------------------------------------------

// Once a turn of the host's, however much is added.
void EventLoop::ask_for_drain() {
  if (drain_asked_ || draining_ || !is_running()) return;
  drain_asked_ = true;
  io().add_callback({&on_drain, this});
}

void EventLoop::on_drain_asked(void* self) noexcept { static_cast<EventLoop*>(self)->ask_for_drain(); }

void EventLoop::on_drain(void* self) noexcept { static_cast<EventLoop*>(self)->drain(); }

// What came out of a callback, with no caller to get it.
void EventLoop::exited() noexcept {
  if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) on_exit_();
  if (PyErr_Occurred()) PyErr_WriteUnraisable(self_);
}

void EventLoop::drain() noexcept {
  drain_asked_ = false;
  if (!is_running()) return;
  draining_ = true;
  try {
    take_polled();
    take_due();
    run_ready();
  } catch (const PyError&) {
    exited();
  }
  draining_ = false;
  arm_timer();
  if (!ready_.empty() || !polled_.empty() || next_ < batch_.size()) ask_for_drain();
}

// --- Memory ---------------------------------------------------------------------------------

void EventLoop::clear() noexcept {
  if (io_) io_->fds.clear();
  timers_.clear();
  // Moved out first: what dies with a handle may schedule another.
  std::vector<PyRef> ready, batch, polled;
  ready.swap(ready_);
  batch.swap(batch_);
  polled.swap(polled_);
  next_ = 0;
  const PyRef transports = std::move(transports_by_fd_), options = std::move(future_options_);
}

void EventLoop::close() noexcept {
  clear();
  io_.reset();
}

int EventLoop::traverse(visitproc visit, void* arg) const noexcept {
  for (const auto* handles : {&ready_, &batch_, &polled_}) {
    for (const PyRef& handle : *handles) Py_VISIT(handle.get());
  }
  Py_VISIT(asyncgen_hooks_before_.get());
  Py_VISIT(transports_by_fd_.get());
  Py_VISIT(future_options_.get());
  if (const int found = timers_.traverse(visit, arg)) return found;
  return io_ ? io_->fds.traverse(visit, arg) : 0;
}

}  // namespace python
