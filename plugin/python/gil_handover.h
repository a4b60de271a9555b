// Passes the GIL from one fiber's thread state to another's without releasing it.
#pragma once

#include <Python.h>
#include <pthread.h>

namespace python {

// Up to CPython 3.11 the process has one running state, and PyThreadState_Swap() exchanges it with the GIL
// held. From 3.12 on it is a thread-local variable of libpython, and every function that changes it
// releases the GIL and takes it again: at each switch a busy thread may get it.
//
// A switch of fibers does not need that, because both threads are one OS thread. So the switch writes what
// releasing and taking would write for these two, and leaves the GIL locked: the thread-local variable;
// "active", "attached" and "holds the GIL" in the states; the GIL's note of its holder (whom other threads
// ask to drop it), a pending request of that kind, and the version of code's instrumentation by tracers and
// profilers. None of these has a name outside CPython.
// start_gil_handover() finds them, and tests that writing them has the same effect as releasing and
// taking.

// Finds and tests these. REQUIRES: the GIL, with its mutex at `gil_mutex`; on the loop's stack. Returns false
// if this CPython is not as expected: then each switch releases the GIL and takes it. Always false up to
// 3.11.
bool start_gil_handover(const pthread_mutex_t* gil_mutex) noexcept;
void stop_gil_handover() noexcept;
bool hands_gil_over() noexcept;

// Detaches the running thread's state; the GIL stays locked. REQUIRES: hands_gil_over().
void detach_keeping_gil() noexcept;
// Attaches a state of the running thread. REQUIRES: the previous thread called
// detach_keeping_gil().
void attach_with_gil_kept(PyThreadState* state) noexcept;

}  // namespace python
