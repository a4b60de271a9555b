// Handle and TimerHandle: asyncio's cancellable callbacks.
#pragma once

#include <Python.h>

#include <cstddef>

#include "plugin/python/py_ref.h"

namespace python {

class EventLoop;

// Handles alive now, for leak checks.
inline long live_handles = 0;

// A call to make: the arguments of call_soon() and the like.
struct Call {
  PyObject* callback;
  PyObject* const* args;
  std::size_t count;
  PyObject* context;  // Null: a copy of the caller's.
};

// Whose a handle is, and who may take an event of a descriptor before the turn's callbacks run.
class EventTaker {
 public:
  // False where the handle must run. It calls nobody but asyncio's own streams and futures. Throws PyError
  // for SystemExit and KeyboardInterrupt.
  virtual bool take_event() = 0;

 protected:
  ~EventTaker() = default;
};

// The contents of a handle. Its fields are Python's `_callback`, `_args` and so on.
struct HandleState {
  static constexpr std::size_t kInPlace = 3;
  static constexpr std::ptrdiff_t kNotScheduled = -1;

  EventLoop* core = nullptr;  // The C++ side of `loop`; null if it is another kind of loop.
  PyRef loop;
  PyRef context;
  PyRef callback;  // Null once cancelled.
  PyRef args[kInPlace];
  std::size_t count = 0;
  bool packed = false;  // All arguments are one tuple in args[0]: too many, or given as a tuple.
  bool cancelled = false;
  PyRef source_traceback;
  PyRef repr;
  EventTaker* taker = nullptr;  // Lives as long as the callback.

  // Only in a TimerHandle.
  double when = 0;
  PyRef when_object;                            // What the caller gave, unless that was a float.
  std::ptrdiff_t scheduled_at = kNotScheduled;  // Where it stands in the loop's heap.
};

// The Python object. Handle inherits from asyncio.Handle and TimerHandle from
// asyncio.TimerHandle, so that isinstance(), repr() and comparisons are asyncio's own.
struct Handle {
  PyObject_HEAD void* inherited[12];  // Where asyncio's classes keep their slots: hidden by ours, empty.
  HandleState state;

  PyObject* object() noexcept { return reinterpret_cast<PyObject*>(this); }

  // As Handle._run(): an error goes to the loop's exception handler. Throws PyError for
  // SystemExit and KeyboardInterrupt, and for what the exception handler raises.
  // REQUIRES: the caller owns a reference.
  void run();
  // As Handle.cancel(). Throws PyError in debug mode only, when the callback has a faulty repr.
  void cancel();
  // The arguments as a tuple; None once cancelled.
  PyRef args_tuple() const;
  // Drops every reference by which another object could own this handle. For tp_clear.
  void drop() noexcept;

 private:
  PyObject* call() noexcept;
  void report_error();
};

// Makes both types on the first call. Throws PyError.
void need_handle_types();
PyTypeObject* handle_type() noexcept;
PyTypeObject* timer_handle_type() noexcept;

// REQUIRES: need_handle_types(). `loop` is the Python object of `core`.
PyRef new_handle(PyTypeObject* type, EventLoop& core, PyObject* loop, const Call& call);

// Null when `object` is not a handle of ours.
inline Handle* as_handle(PyObject* object) noexcept {
  return Py_TYPE(object) == handle_type() || Py_TYPE(object) == timer_handle_type()
             ? reinterpret_cast<Handle*>(object)
             : nullptr;
}

}  // namespace python
