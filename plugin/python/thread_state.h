// One PyThreadState per fiber, all on the loop's OS thread.
#pragma once

#include <Python.h>
#include <pthread.h>

#include <cstddef>
#include <cstdint>

#include "plugin/blocking/identity.h"
#include "plugin/python/foreign_greenlets.h"
#include "suspend/fiber.h"

namespace python {

// Where PyGILState_* looks up this OS thread's state. CPython <= 3.11 keeps it under a
// pthread key that a switch must set; later versions set it themselves as they attach.
class GilStateKey {
 public:
  // Finds the key by comparing what PyGILState_GetThisThreadState() answers. REQUIRES: the GIL.
  // Returns false when no key fits: switching would not be safe.
  bool find() noexcept;
  void set(PyThreadState* state) const noexcept;

  // Makes `state` the one that runs, on any OS thread. The GIL is held before and after.
  void attach(PyThreadState* state) const noexcept {
    // The key first: debug builds of CPython compare the two inside the swap.
    set(state);
    PyThreadState_Swap(state);
  }

 private:
  pthread_key_t key_ = 0;
  bool found_ = false;
};

// The thread state of the loop itself, and the switch between it and the fibers'. One per
// worker, made on the loop's thread after the fork, with the GIL held.
class Hub {
 public:
  // Throws std::runtime_error with the sentence to show when this Python cannot be served.
  Hub();
  ~Hub() { instance_ = nullptr; }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // The loop's own state, or that of the greenlet that runs in its stead.
  PyThreadState* state() const noexcept { return state_; }
  void stand_in(PyThreadState* state) noexcept { state_ = state; }

  // The hub of this worker, or null.
  static Hub* instance() noexcept { return instance_; }

  // Makes `state` the one that runs. The GIL is held before and after.
  void attach(PyThreadState* state) const noexcept;

  // For a fiber that gave way in the middle of taking the GIL. Before it runs: gives the GIL
  // up and makes `state` the one PyGILState finds, for the fiber to go on taking the GIL with.
  void detach_for(PyThreadState* state) const noexcept;
  // After it gave way: takes the GIL with the hub's own state.
  void take_gil_back() const noexcept;

  ForeignGreenlets& foreign_greenlets() const noexcept { return foreign_greenlets_; }

 private:
  PyThreadState* state_;
  mutable ForeignGreenlets foreign_greenlets_;
  GilStateKey gil_state_key_;

  static inline Hub* instance_ = nullptr;
};

// A fiber's own thread state. To Python the fiber is a thread: own thread-locals, own
// exception state, own recursion count, own ident. Lives as long as the fiber, so that
// threading.local data stays with it.
class ThreadState {
 public:
  // With the hub's state attached. `fiber` gives the ident. Throws std::bad_alloc.
  ThreadState(const Hub& hub, const suspend::Fiber& fiber);
  // With the hub's state attached; finalisers of thread-local data run on it.
  ~ThreadState();
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

  void attach() const noexcept { hub_.attach(get()); }
  // The fiber's own state, or that of the greenlet that runs in its stead.
  PyThreadState* get() const noexcept { return running_; }
  void stand_in(PyThreadState* state) noexcept { running_ = state; }

  // True while this state is the one that runs: the fiber holds the GIL.
  bool attached() const noexcept;

 private:
  const Hub& hub_;
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

}  // namespace python
