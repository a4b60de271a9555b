// One PyThreadState per fiber, all on the loop's OS thread.
#pragma once

#include <Python.h>
#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "plugin/blocking/identity.h"
#include "suspend/fiber.h"

namespace python {

// Where PyGILState_* looks up the state of the thread that runs. CPython <= 3.11 keeps it under a
// pthread key that changing between states of one thread must set; later versions set it
// themselves as they attach.
class GilStateKey {
 public:
  // Finds the key by comparing what PyGILState_GetThisThreadState() answers. REQUIRES: the GIL.
  // Returns false when no key fits: switching would not be safe.
  bool find() noexcept;

  // Makes `state` the one that runs. The GIL is held before and after.
  void attach(PyThreadState* state) const noexcept;

 private:
  pthread_key_t key_ = 0;
  bool found_ = false;
};

// How the GIL goes from one thread to another that runs on the same OS thread: the one that leaves calls
// leave_gil(), and the one that comes take_gil() once it is the thread that runs (suspend/thread_block.h).
// Up to 3.11 the GIL is no state's, and the state that runs is one for the process: it is exchanged. From
// 3.12 on the state that runs is each thread's own, and so is the GIL: it is given up and taken.
void leave_gil() noexcept;
void take_gil(PyThreadState* state) noexcept;

// The thread state of the loop itself, and the switch between it and the fibers'. One per
// worker, made on the loop's thread after the fork, with the GIL held.
class Hub {
 public:
  Hub() noexcept : state_(PyThreadState_Get()) { instance_ = this; }
  ~Hub() { instance_ = nullptr; }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // The loop's own state, or that of the greenlet that runs in its stead.
  PyThreadState* state() const noexcept { return state_; }
  void set_current_state(PyThreadState* state) noexcept { state_ = state; }

  // The hub of this worker, or null.
  static Hub* instance() noexcept { return instance_; }

 private:
  PyThreadState* state_;

  static inline Hub* instance_ = nullptr;
};

// A fiber's own thread state. To Python the fiber is a thread: own thread-locals, own
// exception state, own recursion count, own ident. Lives as long as the fiber, so that
// threading.local data stays with it.
class ThreadState {
 public:
  // With the hub's state attached. `fiber` is the thread that it is of. Throws std::bad_alloc.
  ThreadState(const Hub& hub, suspend::Fiber& fiber);
  // With the hub's state attached; finalisers of thread-local data run on it.
  ~ThreadState();
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

  // The fiber's own state, or that of the greenlet that runs in its stead.
  PyThreadState* get() const noexcept { return running_; }
  void set_current_state(PyThreadState* state) noexcept { running_ = state; }

  // True while the fiber, which runs, holds the GIL.
  bool attached() const noexcept;

 private:
  const Hub& hub_;
  const suspend::Fiber& fiber_;
  const blocking::Identity identity_;
  PyThreadState* const state_;
  PyThreadState* running_;
};

// A further state for the Python thread that runs: the same ident, frames and exceptions of its
// own, for a stack of `stack_size` bytes. Throws std::bad_alloc.
PyThreadState* new_state_of_this_thread(std::size_t stack_size);
// Gives a state to the thread that runs, to be its further one.
void adopt_state(PyThreadState* state) noexcept;
// What belongs to the Python thread and not to one of its states: thread-locals, trace and
// profile functions.
// It is with the state that runs.
void move_thread_data(PyThreadState* from, PyThreadState* to) noexcept;

// The contextvars.Context a state has entered, or null. Borrowed.
PyObject* context_of(PyThreadState* state) noexcept;
// Steals `context`, which may be null. Returns the one before, which is the caller's.
PyObject* exchange_context(PyThreadState* state, PyObject* context) noexcept;

// The dict with the thread-locals of `state`, or null. Borrowed.
PyObject* thread_dict_of(PyThreadState* state) noexcept;
// The same, made where there is none; null with an error set.
PyObject* need_thread_dict_of(PyThreadState* state) noexcept;

// While one lives, trace and profile functions of the thread that runs are not called.
class TracingPaused {
 public:
  TracingPaused() noexcept;
  ~TracingPaused();
  TracingPaused(const TracingPaused&) = delete;
  TracingPaused& operator=(const TracingPaused&) = delete;
};

bool python_is_finalizing() noexcept;
// A number no other state of this process has.
std::uint64_t id_of(PyThreadState* state) noexcept;

// The state attached to this OS thread, or null. On CPython <= 3.11 it may be that of
// another thread, which then holds the GIL: compare, do not test for null.
PyThreadState* current_state() noexcept;

// What the loop's thread does with the GIL, where it is watched taking it and giving it up (preemption.h).
enum class Gil : unsigned char { kNotWatched, kHeld, kGivenUp };
// Written by that thread. Whoever has the GIL itself while this says kGivenUp keeps the loop's thread from
// Python.
inline std::atomic<Gil> loop_threads_gil{Gil::kNotWatched};

// True where the loop's thread, which asks and whose state here is `own`, holds the GIL. It may hold it
// with another state attached, or with none: of another interpreter, which C code enters.
bool holds_gil(const PyThreadState* own) noexcept;

}  // namespace python
