// Fields of PyThreadState that differ by CPython version.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

#include "suspend/stack.h"

namespace python {

// False for a CPython that cannot be told about a fiber's stack and takes it for an overflow.
bool can_bound_recursion() noexcept;
// Bounds the C recursion of a state that runs on `stack`, before it first runs.
void bound_recursion(PyThreadState* state, const suspend::Stack& stack) noexcept;

// Tells CPython which state is the main thread's, as the program `python3` does at its start and uWSGI does
// not: sys.remote_exec() of another process (3.14) looks for it. REQUIRES: that state is attached.
void announce_main_state() noexcept;
void withdraw_main_state() noexcept;

// Another state for Python threads, with its own frames and exceptions, for `stack`. It belongs to no thread
// until one moves to it. Throws std::bad_alloc.
PyThreadState* new_further_state(const suspend::Stack& stack);
// Data of the Python thread, not of one of its states: the ident, by which others raise exceptions in it;
// those exceptions; thread-locals; trace and profile functions. The running state has it; the thread's other
// states have the ident 0.
void move_thread_data(PyThreadState* from, PyThreadState* to) noexcept;

// The contextvars.Context that a state has entered, or null. Borrowed.
PyObject* context_of(PyThreadState* state) noexcept;
// Steals `context`, which may be null. Returns the previous one, which the caller then owns.
PyObject* exchange_context(PyThreadState* state, PyObject* context) noexcept;

// The dict with the thread-locals of `state`, or null. Borrowed.
PyObject* thread_dict_of(PyThreadState* state) noexcept;
// The same, made if there is none; null with an error set.
PyObject* need_thread_dict_of(PyThreadState* state) noexcept;

// While one exists, trace and profile functions of the running thread are not called.
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

}  // namespace python
