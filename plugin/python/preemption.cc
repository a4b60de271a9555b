#include "plugin/python/preemption.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/real.h"
#include "plugin/python/virtual_thread.h"

namespace python {
namespace {

// Longer than this past its due time, and C code keeps the GIL.
constexpr std::int64_t kStubbornNs = 100'000'000;

std::int64_t now_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// --- What the loop's thread and the watchdog share ------------------------------------------

std::atomic<std::uint64_t> current_run{0};       // Odd while a fiber runs. Written by the loop.
std::atomic<std::uint64_t> marked_run{0};        // The run that is to give way.
std::atomic<std::int64_t> marked_due_ns{0};      // ... but not before this.
std::atomic<bool> watchdog_sleeps{false};
std::condition_variable* watchdog_wake = nullptr;

// --- The GIL's mutex, as the loop's thread locks it -----------------------------------------

enum class Phase { kOff, kLearning, kWatching };
Phase phase = Phase::kOff;
pthread_mutex_t* gil_mutex = nullptr;
int gil_locks_seen = 0;    // While learning.
bool gil_held = true;      // Between the take and the next drop.
std::uint64_t preempted = 0;

bool is_due() noexcept {
  return marked_run.load(std::memory_order_relaxed) == current_run.load(std::memory_order_relaxed) &&
         now_ns() >= marked_due_ns.load(std::memory_order_relaxed);
}

// The loop's thread is about to lock `mutex`, which is the GIL's.
void before_gil_lock() noexcept {
  if (gil_held) {
    gil_held = false;  // It drops the GIL.
    return;
  }
  // It takes the GIL: given up, nothing held. The place to give way.
  VirtualThread* const thread = VirtualThread::current();
  if (thread != nullptr && !thread->suspension_is_forbidden() && is_due()) {
    const int saved_errno = errno;
    ++preempted;
    thread->give_way();
    errno = saved_errno;
  }
  gil_held = true;
}

int watched_pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  if (phase != Phase::kOff && blocking::on_loop_thread()) {
    if (phase == Phase::kLearning) {
      if (gil_mutex == nullptr) gil_mutex = mutex;
      if (mutex == gil_mutex) ++gil_locks_seen;
    } else if (mutex == gil_mutex) {
      before_gil_lock();
    }
  }
  return blocking::real::pthread_mutex_lock(mutex);
}

// --- A garbage collection is not left in the middle ------------------------------------------

VirtualThread* collecting = nullptr;

// gc.callbacks entry: (phase, info).
PyObject* on_gc(PyObject*, PyObject* args) noexcept {
  const char* phase_name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(args, 0));
  if (phase_name == nullptr) return nullptr;
  if (phase_name[2] == 'a') {  // "start"
    VirtualThread* const thread = blocking::on_loop_thread() ? VirtualThread::current() : nullptr;
    if (thread != nullptr && collecting == nullptr) {
      collecting = thread;
      thread->forbid_suspension();
    }
  } else if (collecting != nullptr && collecting == VirtualThread::current()) {
    collecting->allow_suspension();
    collecting = nullptr;
  }
  return PyRef::borrow(Py_None).release();
}

PyMethodDef on_gc_method = {"uwsgi_tornado_gc", on_gc, METH_VARARGS, nullptr};

// Appends on_gc to gc.callbacks. Throws PyError.
PyRef hook_gc() {
  PyRef hook = py_check(PyCFunction_New(&on_gc_method, nullptr));
  const PyRef gc = py_check(PyImport_ImportModule("gc"));
  const PyRef callbacks = py_check(PyObject_GetAttrString(gc.get(), "callbacks"));
  py_check_status(PyList_Append(callbacks.get(), hook.get()));
  return hook;
}

void unhook_gc(const PyRef& hook) noexcept {
  const auto gc = PyRef::steal(PyImport_ImportModule("gc"));
  const auto callbacks = PyRef::steal(gc ? PyObject_GetAttrString(gc.get(), "callbacks") : nullptr);
  const auto result =
      PyRef::steal(callbacks ? PyObject_CallMethod(callbacks.get(), "remove", "O", hook.get()) : nullptr);
  PyErr_Clear();
}

double switch_interval_s() noexcept {
  const auto interval =
      PyRef::steal(PyObject_CallFunctionObjArgs(PySys_GetObject("getswitchinterval"), nullptr));
  const double seconds = interval ? PyFloat_AsDouble(interval.get()) : 0.005;
  PyErr_Clear();
  return seconds;
}

}  // namespace

void note_switch() noexcept {
  // One writer: the loop's thread.
  current_run.store(current_run.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  if (watchdog_sleeps.load(std::memory_order_relaxed)) watchdog_wake->notify_one();
}

std::uint64_t preemption_count() noexcept { return preempted; }

std::vector<blocking::Call> Preemption::calls() {
  return {{"pthread_mutex_lock", blocking::address_of(watched_pthread_mutex_lock),
           blocking::Scope::kLibpythonOnly}};
}

Preemption::Preemption(const Hub& hub, double quantum_s, OnStubborn on_stubborn)
    : hub_(hub), quantum_ns_(static_cast<std::int64_t>(quantum_s * 1e9)), on_stubborn_(on_stubborn) {
  watchdog_wake = &wake_;
}

Preemption::~Preemption() {
  if (watchdog_.joinable()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    PyThreadState* const state = PyEval_SaveThread();  // It may be waiting for the GIL.
    watchdog_.join();
    PyEval_RestoreThread(state);
  }
  phase = Phase::kOff;
  watchdog_sleeps = false;
  if (gc_hook_) unhook_gc(gc_hook_);
}

void Preemption::forget_in_child() noexcept { phase = Phase::kOff; }

// Gives the GIL up and takes it back twice: the same mutex must be locked four times.
bool Preemption::learn_mutex() noexcept {
  gil_mutex = nullptr;
  gil_locks_seen = 0;
  phase = Phase::kLearning;
  for (int i = 0; i < 2; ++i) PyEval_RestoreThread(PyEval_SaveThread());
  phase = Phase::kOff;
  return gil_mutex != nullptr && gil_locks_seen == 4;
}

bool Preemption::start() {
  if (!learn_mutex()) return false;
  try {
    gc_hook_ = hook_gc();
  } catch (const PyError&) {
    PyErr_Clear();
    return false;
  }
  gil_held = true;
  phase = Phase::kWatching;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // Signals are for the main thread.
  watchdog_ = std::thread([this] { watch(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return true;
}

// The watchdog's thread, from start to end.
void Preemption::watch() noexcept {
  const PyGILState_STATE gil = PyGILState_Ensure();
  std::int64_t interval_ns = static_cast<std::int64_t>(switch_interval_s() * 1e9);
  PyThreadState* const state = PyEval_SaveThread();

  std::uint64_t seen_run = 0;
  std::int64_t seen_at_ns = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    const std::uint64_t run = current_run.load(std::memory_order_acquire);
    const std::int64_t now = now_ns();
    if (run != seen_run) {
      seen_run = run;
      seen_at_ns = now;
    } else if (run % 2 == 0) {
      watchdog_sleeps = true;
      // The notification may come just before the wait: then the next look is this late.
      wake_.wait_for(lock, std::chrono::milliseconds(100));
      watchdog_sleeps = false;
      continue;
    } else if (now - seen_at_ns >= quantum_ns_ - interval_ns) {
      // CPython's own wait for the GIL takes a switch interval before the eval loop is asked,
      // so it begins that much early. Marked first, or the answer would come unnoticed.
      const std::int64_t due_ns = seen_at_ns + quantum_ns_;
      marked_due_ns.store(due_ns, std::memory_order_relaxed);
      marked_run.store(run, std::memory_order_relaxed);
      lock.unlock();
      PyEval_RestoreThread(state);
      const std::int64_t late_ns = now_ns() - due_ns;
      if (late_ns > kStubbornNs) {
        on_stubborn_(static_cast<double>(late_ns + quantum_ns_) * 1e-9,
                     current_run.load(std::memory_order_acquire) == run);
      }
      interval_ns = static_cast<std::int64_t>(switch_interval_s() * 1e9);
      PyEval_SaveThread();
      lock.lock();
      continue;
    }
    wake_.wait_for(lock, std::chrono::nanoseconds(std::max<std::int64_t>(quantum_ns_ / 4, 250'000)));
  }
  lock.unlock();
  PyEval_RestoreThread(state);
  PyGILState_Release(gil);
}

}  // namespace python
