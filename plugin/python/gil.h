// The GIL and the thread state that runs with it, as they change hands between the fibers of one OS thread.
#pragma once

#include <Python.h>
#include <pthread.h>

#include <atomic>

namespace python {

// The state attached to this OS thread, or null. On CPython <= 3.11 it may be that of
// another thread, which then holds the GIL: compare, do not test for null.
PyThreadState* current_state() noexcept;

// What the loop's thread does with the GIL, if its taking and releasing is watched (preemption.h).
enum class Gil : unsigned char { kNotWatched, kHeld, kGivenUp };
// Written by that thread. While this says kGivenUp, whoever has the GIL keeps the loop's thread from running
// Python.
inline std::atomic<Gil> loop_threads_gil{Gil::kNotWatched};

// True if the loop's thread, which calls this and whose state here is `own`, holds the GIL, possibly with
// another state attached or none: that of another interpreter, which C code enters.
bool holds_gil(const PyThreadState* own) noexcept;

// Where PyGILState_* looks up the state of the thread that runs. CPython <= 3.11 keeps it under a
// pthread key that changing between states of one thread must set; later versions set it
// themselves as they attach.
class GilStateKey {
 public:
  // Finds the key by comparing what PyGILState_GetThisThreadState() answers. REQUIRES: the GIL.
  // Returns false when no key fits: switching would not be safe.
  bool find() noexcept;

  // Makes `state` the running one. The GIL is held before and after.
  void attach(PyThreadState* state) const noexcept;

 private:
  pthread_key_t key_ = 0;
  bool found_ = false;
};

// PyThreadState_Swap(). From 3.12 on it gives the GIL up and takes it again; the caller is half one thread
// and half another meanwhile, so that it does not give way there.
PyThreadState* swap_states(PyThreadState* state) noexcept;
// True in the middle of swap_states(), and where take_gil() takes the GIL.
bool changes_states() noexcept;

// Passes the GIL from one thread to another one on the same OS thread: the one that leaves calls
// leave_gil(), and the next one calls take_gil() once it runs (suspend/thread_block.h). Up to 3.11 the GIL
// belongs to no state, and the process has one running state, which is exchanged. From 3.12 on each thread
// has its own running state: the GIL is handed over (gil_handover.h), or if that is impossible released and
// taken.
void leave_gil() noexcept;
void take_gil(PyThreadState* state) noexcept;

// While one lives, the thread that runs has `own` attached, also where it has entered another
// interpreter. The GIL is held throughout.
class InOwnInterpreter {
 public:
  explicit InOwnInterpreter(PyThreadState* own) noexcept : own_(own), entered_(current_state()) {
    if (entered_ != own_) swap_states(own_);
  }
  ~InOwnInterpreter() {
    if (entered_ != own_) swap_states(entered_);
  }
  InOwnInterpreter(const InOwnInterpreter&) = delete;
  InOwnInterpreter& operator=(const InOwnInterpreter&) = delete;

 private:
  PyThreadState* const own_;
  PyThreadState* const entered_;
};

}  // namespace python
