// The GIL goes from one fiber's thread state to another's without being given up.
#pragma once

#include <Python.h>
#include <pthread.h>

namespace python {

// Up to CPython 3.11 the state that runs is one for the process, and PyThreadState_Swap() exchanges it with
// the GIL held. From 3.12 on the state is a thread-local variable of libpython's, and every function that
// changes it gives the GIL up and takes it: a busy thread beside may have it then, at each switch.
//
// A fiber's switch needs none of that: thread that leaves and thread that comes are one OS thread. So the
// switch writes what giving up and taking would write for these two, and leaves the GIL locked: the
// thread-local variable, "active", "attached" and "holds the GIL" in the states, the GIL's note of who holds
// it (which other threads ask to drop it), and such a request that is under way. None of that has a name
// outside CPython: where it lies is found, and that writing it equals giving up and taking is tested, by
// start_gil_handover().

// Finds and tests. REQUIRES: the GIL, with its mutex at `gil_mutex`; on the loop's stack. False where this
// CPython is another than was expected: the GIL is then given up and taken at each switch. Always false up
// to 3.11.
bool start_gil_handover(const pthread_mutex_t* gil_mutex) noexcept;
void stop_gil_handover() noexcept;
bool hands_gil_over() noexcept;

// Detaches the state of the thread that runs; the GIL stays locked. REQUIRES: hands_gil_over().
void detach_keeping_gil() noexcept;
// Attaches a state of the thread that runs. REQUIRES: detach_keeping_gil() was called by the thread before
// it.
void attach_with_gil_kept(PyThreadState* state) noexcept;

}  // namespace python
