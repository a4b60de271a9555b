// Exceptions that others raise in a virtual thread while it waits.
#pragma once

#include <Python.h>

#include <string>

#include "plugin/python/py_ref.h"

namespace python {

class VirtualThread;

// Borrowed. Made on the first call. Derived from BaseException, like asyncio.CancelledError, so that handlers
// of Exception do not take them for their own errors. Throws PyError.
PyObject* request_interrupted_type();  // The base of the other two.
PyObject* request_timeout_type();
PyObject* client_disconnected_type();

// The exception that interrupts a thread. suspend::Interrupt ends the waits themselves. In Python this has
// three effects:
//
// - a blocking call fails with ECANCELED, and the exception takes the place of CPython's OSError;
// - a wait for a lock returns EINTR, and CPython's check for signals raises the exception;
// - our own functions that wait raise it themselves (raise_if_interrupted()).
//
// If a C library turns ECANCELED into an error of its own, that error is raised, and the next wait raises the
// exception. It is raised at each wait until it has left the request.
class Interruption {
 public:
  // `type` is one of those above, borrowed. With the GIL held, outside any fiber.
  void begin(VirtualThread& thread, PyObject* type, std::string message) noexcept;
  // The interruption has left the request, or the request has ended. With the GIL held.
  void end(VirtualThread& thread) noexcept;

  bool begun() const noexcept { return type_ != nullptr; }

  // A new exception. With the GIL held. Throws PyError.
  PyRef make() const;
  // Sets it as Python's current error.
  void raise() const noexcept;
  // Makes the next bytecode that checks for exceptions raise it. With the GIL held, on the thread.
  void raise_soon(VirtualThread& thread) noexcept;

 private:
  PyObject* type_ = nullptr;  // For the process's life.
  std::string message_;
  bool soon_ = false;  // raise_soon() was called; the bytecode may not have come yet.
};

// While one exists, its thread's waits are not interrupted.
class Shielded {
 public:
  explicit Shielded(VirtualThread& thread) noexcept;
  ~Shielded();
  Shielded(const Shielded&) = delete;
  Shielded& operator=(const Shielded&) = delete;

 private:
  VirtualThread& thread_;
};

// The running thread if it is interrupted and not shielded, otherwise null.
VirtualThread* interrupted_thread() noexcept;

// Throws PyError, with the exception set, if `thread` is interrupted and not shielded.
void raise_if_interrupted(VirtualThread& thread);

// Raises the exception at the next bytecode that checks for one: for waits whose caller cannot report an
// error. With the GIL held, on `thread`.
void raise_soon_if_interrupted(VirtualThread& thread) noexcept;

// Turns OSError(ECANCELED) in an interrupted thread into its exception, from CPython 3.9 on. For the life of
// the process; with the GIL.
void turn_cancelled_calls_into_interruptions() noexcept;

// Keeps interruptions out of os.fork() and the functions registered to run before and after it: an exception
// there reaches nobody, and a lock that was not taken before would be released after. Functions registered
// later are not covered. Call it once the application is loaded. Throws PyError.
void shield_forks();

// The running thread was interrupted while waiting for one of Python's locks.
void interrupt_lock_wait() noexcept;

}  // namespace python
