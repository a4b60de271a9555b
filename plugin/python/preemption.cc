#include "plugin/python/preemption.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <csignal>
#include <utility>

#include "plugin/blocking/error_numbers.h"
#include "plugin/blocking/gate.h"
#include "plugin/blocking/libc.h"
#include "plugin/loop/clock.h"
#include "plugin/python/gil.h"
#include "plugin/python/gil_handover.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

// A fiber that keeps the GIL this much longer than the eval loop would is in C code.
constexpr std::int64_t kStubbornNs = 100'000'000;

// The watchdog looks no more often than this.
constexpr std::int64_t kTickMinNs = 25'000;

// --- What the loop's thread and the watchdog share ------------------------------------------

std::atomic<std::uint64_t> current_run{0};  // Odd while a fiber runs. Written by the loop.
std::atomic<std::int64_t> run_began_ns{0};  // Written before the run, so never too early for it.
std::atomic<std::uint64_t> marked_run{0};   // The run that is to give way.

// The watchdog has asked for the GIL and the loop's thread has kept it since; when it first
// did not, and in which run.
std::atomic<bool> asked{false};
std::atomic<std::int64_t> answered_ns{0};
std::atomic<std::uint64_t> answering_run{0};

// --- The GIL's mutex, as the loop's thread locks it -----------------------------------------

enum class Phase { kOff, kLearning, kWatching };
Phase phase = Phase::kOff;
pthread_mutex_t* gil_mutex = nullptr;
int gil_locks_seen = 0;  // While learning.
bool preempts = false;
std::uint64_t preempted = 0;
std::uint64_t gil_locks = 0;

VirtualThread* collecting() noexcept;

bool is_due() noexcept {
  return marked_run.load(std::memory_order_relaxed) == current_run.load(std::memory_order_relaxed);
}

bool should_give_way(const VirtualThread& thread) noexcept {
  return is_due() && !thread.task().suspension_is_forbidden() && !thread.task().keeps_turn() &&
         collecting() != &thread;
}

// The loop's thread does not keep the GIL: it drops it, or waits for it.
void answer_watchdog() noexcept {
  if (!asked.load(std::memory_order_relaxed)) return;
  answered_ns.store(loop::monotonic_ns(), std::memory_order_relaxed);
  answering_run.store(current_run.load(std::memory_order_relaxed), std::memory_order_relaxed);
  asked.store(false, std::memory_order_release);
}

// The loop's thread is about to lock the GIL's mutex.
void before_gil_lock() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  // A thread releases and takes the GIL with no state attached. With a state attached it does neither: 3.13
  // looks for the receiver of a pending call under this mutex, and in 3.12's PyThreadState_Swap() nobody may
  // give way.
  if (current_state() != nullptr) return;
#endif
  ++gil_locks;
  if (loop_threads_gil.load(std::memory_order_relaxed) == Gil::kHeld) {
    loop_threads_gil.store(Gil::kGivenUp, std::memory_order_relaxed);  // It drops the GIL.
    answer_watchdog();
    return;
  }
  // It takes the GIL: given up, nothing held. The place to give way.
  VirtualThread* const thread = VirtualThread::current();
  if (thread != nullptr && !changes_states() && should_give_way(*thread)) {
    const auto saved = blocking::ErrorNumbers::of_this_thread();
    ++preempted;
    thread->give_way();
    saved.set();
  }
  loop_threads_gil.store(Gil::kHeld, std::memory_order_relaxed);
}

int watched_pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  if (blocking::on_loop_thread() && phase != Phase::kOff) {
    if (phase == Phase::kLearning) {
      if (gil_mutex == nullptr) gil_mutex = mutex;
      if (mutex == gil_mutex) ++gil_locks_seen;
    } else if (mutex == gil_mutex) {
      before_gil_lock();
    }
  }
  return blocking::libc::pthread_mutex_lock(mutex);
}

// --- How long the watchdog waits for the GIL before it asks for it ---------------------------

// CPython makes every thread wait for a switch interval first, which may be longer than the
// quantum. The watchdog comes when the fiber is due: its first wait ends at once, and the
// others, where a thread came before it, after a slice each.
struct GilWaitCap {
  bool shortens = false;  // False: another thread, which waits as it likes.
  bool first = true;
  std::int64_t slice_ns = 0;

  timespec shortened(const timespec& until) noexcept {
    const std::int64_t now = loop::monotonic_ns();
    const std::int64_t latest = std::exchange(first, false) ? now : now + slice_ns;
    // By another clock than expected `until` would lie years ahead; it stays as it is.
    const bool other_clock = loop::to_ns(until) - now > 365 * 24 * 3600 * loop::kSecondNs;
    return other_clock ? until : loop::to_timespec(std::min(loop::to_ns(until), latest));
  }
};

thread_local GilWaitCap gil_wait_cap;

// take_gil() waits with this, and nothing else of libpython's that concerns us.
int watched_pthread_cond_timedwait(pthread_cond_t* cond, pthread_mutex_t* mutex,
                                   const timespec* until) noexcept {
  if (blocking::on_loop_thread()) answer_watchdog();
  else Watchdog::on_gil_wait();
  if (!gil_wait_cap.shortens) return blocking::libc::pthread_cond_timedwait(cond, mutex, until);
  const timespec sooner = gil_wait_cap.shortened(*until);
  return blocking::libc::pthread_cond_timedwait(cond, mutex, &sooner);
}

// --- A garbage collection is not left in the middle ------------------------------------------

// Whose collection is under way. There is one at a time; written with the GIL held.
std::atomic<VirtualThread*> collector{nullptr};

VirtualThread* collecting() noexcept { return collector.load(std::memory_order_relaxed); }

bool is_start(PyObject* phase_name) noexcept {
  return PyUnicode_CompareWithASCIIString(phase_name, "start") == 0;
}

// Entries of gc.callbacks, the first and the last: (phase, info).
PyObject* on_gc_begins(PyObject*, PyObject* const* args, Py_ssize_t) noexcept {
  if (is_start(args[0])) collector.store(VirtualThread::current(), std::memory_order_relaxed);
  return none().release();
}

PyObject* on_gc_ends(PyObject*, PyObject* const* args, Py_ssize_t) noexcept {
  if (!is_start(args[0])) collector.store(nullptr, std::memory_order_relaxed);
  return none().release();
}

PyMethodDef gc_methods[] = {
    {"uwsgi_tornado_gc_begins", as_method(on_gc_begins), METH_FASTCALL, nullptr},
    {"uwsgi_tornado_gc_ends", as_method(on_gc_ends), METH_FASTCALL, nullptr},
};

PyRef gc_callbacks() {
  const PyRef gc = py_check(PyImport_ImportModule("gc"));
  return py_check(PyObject_GetAttrString(gc.get(), "callbacks"));
}

std::int64_t switch_interval_ns() noexcept {
  const auto interval =
      PyRef::steal(PyObject_CallFunctionObjArgs(PySys_GetObject("getswitchinterval"), nullptr));
  const double seconds = interval ? PyFloat_AsDouble(interval.get()) : 0.005;
  PyErr_Clear();
  return static_cast<std::int64_t>(seconds * 1e9);
}

}  // namespace

void note_switch() noexcept {
  // One writer: the loop's thread.
  const std::uint64_t run = current_run.load(std::memory_order_relaxed) + 1;
  if (run % 2 == 0) {
    current_run.store(run, std::memory_order_release);
  } else {
    if (preempts) run_began_ns.store(loop::monotonic_ns(), std::memory_order_relaxed);
    current_run.store(run);
    Watchdog::wake();
  }
}

// A run is counted as it begins and as it ends.
std::uint64_t switch_count() noexcept { return (current_run.load(std::memory_order_relaxed) + 1) / 2; }

std::uint64_t preemption_count() noexcept { return preempted; }

std::uint64_t gil_lock_count() noexcept { return gil_locks; }

std::vector<blocking::Call> Preemption::calls() {
  return {
      {"pthread_mutex_lock", blocking::address_of(watched_pthread_mutex_lock),
       blocking::Scope::kLibpythonOnly},
      {"pthread_cond_timedwait", blocking::address_of(watched_pthread_cond_timedwait),
       blocking::Scope::kLibpythonOnly},
  };
}

Preemption::Preemption(double quantum_s, OnGilHog on_gil_hog)
    : quantum_ns_(static_cast<std::int64_t>(quantum_s * 1e9)), on_gil_hog_(on_gil_hog) {}

Preemption::~Preemption() {
  forget_in_child();
  unhook_gc();
}

void Preemption::forget_in_child() noexcept {
  stop_gil_handover();
  phase = Phase::kOff;
  loop_threads_gil = Gil::kNotWatched;
  preempts = false;
}

// Throws PyError.
void Preemption::hook_gc() {
  const PyRef callbacks = gc_callbacks();
  gc_begins_ = py_check(PyCFunction_New(&gc_methods[0], nullptr));
  gc_ends_ = py_check(PyCFunction_New(&gc_methods[1], nullptr));
  py_check_status(PyList_Insert(callbacks.get(), 0, gc_begins_.get()));
  py_check_status(PyList_Append(callbacks.get(), gc_ends_.get()));
}

void Preemption::unhook_gc() noexcept {
  if (!gc_ends_) return;
  try {
    const PyRef callbacks = gc_callbacks();
    for (const PyRef* hook : {&gc_begins_, &gc_ends_}) {
      py_check(PyObject_CallMethod(callbacks.get(), "remove", "O", hook->get()));
    }
  } catch (const PyError&) {
    PyErr_Clear();  // The application has taken them out.
  }
}

// Gives the GIL up and takes it back twice: the same mutex must be locked four times.
bool Preemption::learn_mutex() noexcept {
  gil_mutex = nullptr;
  gil_locks_seen = 0;
  phase = Phase::kLearning;
  for (int i = 0; i < 2; ++i) PyEval_RestoreThread(PyEval_SaveThread());
  phase = Phase::kOff;
  return gil_mutex != nullptr && gil_locks_seen == 4;
}

bool Preemption::start(Watchdog& watchdog) {
  if (!learn_mutex()) return false;
  start_gil_handover(gil_mutex);
  phase = Phase::kWatching;
  loop_threads_gil = Gil::kHeld;
  if (quantum_ns_ == 0) return true;
  try {
    hook_gc();
  } catch (const PyError&) {
    PyErr_Clear();
    return false;
  }
  preempts = true;
  watchdog.add(*this);
  return true;
}

std::int64_t Preemption::look(Watchdog& watchdog) {
  if (!gil_wait_cap.shortens) {
    gil_wait_cap.shortens = true;
    gil_wait_cap.slice_ns = quantum_ns_;
  }
  const std::uint64_t run = current_run.load(std::memory_order_acquire);
  const bool between = run % 2 == 0;
  if (between && run == std::exchange(seen_run_, run)) return Watchdog::kUntilWoken;
  // Of this run or of one that has begun meanwhile, which the next look will meet.
  const std::int64_t left_ns =
      run_began_ns.load(std::memory_order_relaxed) + quantum_ns_ - loop::monotonic_ns();
  if (between || left_ns > 0) return std::max(between ? quantum_ns_ : left_ns, kTickMinNs);
  if (marked_run.load(std::memory_order_relaxed) != run) {
    marked_run.store(run, std::memory_order_relaxed);
    // One that gives the GIL up by itself meanwhile gives way as it takes it back.
    return std::max(quantum_ns_ / 16, kTickMinNs);
  }
  ask_for_gil(watchdog, run);
  return std::max(quantum_ns_ / 4, kTickMinNs);
}

bool Preemption::is_news() const noexcept { return current_run.load() != seen_run_; }

// Has the eval loop give up the GIL, which is given back at once. `run` is marked: it goes no
// further than to its next take.
void Preemption::ask_for_gil(Watchdog& watchdog, std::uint64_t run) {
  const std::int64_t asked_ns = loop::monotonic_ns();
  asked.store(true, std::memory_order_release);
  gil_wait_cap.first = true;
  watchdog.take_gil();
  // Still unanswered: the loop's thread had given it up before.
  if (!asked.exchange(false, std::memory_order_acquire)) {
    const std::int64_t late_ns = answered_ns.load(std::memory_order_relaxed) - asked_ns;
    if (late_ns > kStubbornNs) {
      // The fiber that answered gets no further than to its next take of the GIL.
      on_gil_hog_(static_cast<double>(late_ns) * 1e-9, answering_run.load(std::memory_order_relaxed) == run);
    }
  }
  gil_wait_cap.slice_ns = std::min(switch_interval_ns(), quantum_ns_);
  watchdog.give_gil_back();
}

}  // namespace python
