// What is in a PyThreadState and differs with CPython's version.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

#include "suspend/stack.h"

namespace python {

// False on a CPython that cannot be told of a fiber's stack, and takes it for one that has overflowed.
bool can_bound_recursion() noexcept;
// Bounds the C recursion of a state that runs on `stack`, before it first runs.
void bound_recursion(PyThreadState* state, const suspend::Stack& stack) noexcept;

// A further state for Python threads, with frames and exceptions of its own, for `stack`.
// It is no thread's until one moves to it. Throws std::bad_alloc.
PyThreadState* new_further_state(const suspend::Stack& stack);
// What belongs to the Python thread and not to one of its states: the ident, by which others raise
// exceptions in it, those exceptions, thread-locals, trace and profile functions. It is with the state that
// runs; the thread's other states have the ident 0.
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

// True when __del__ is among the frames of `state`. With the GIL held. All are looked at, but
// only of a fiber that gives way: a thousand take 40 us of its quantum.
bool runs_finaliser(PyThreadState* state) noexcept;

bool python_is_finalizing() noexcept;
// A number no other state of this process has.
std::uint64_t id_of(PyThreadState* state) noexcept;

}  // namespace python
