// Makes a computing fiber give way where CPython would let another thread run.
#pragma once

#include <Python.h>
#include <pthread.h>

#include <cstdint>
#include <vector>

#include "plugin/blocking/call.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/watchdog.h"

namespace python {

// How it works: a watchdog thread sees that a fiber has run for its quantum, marks it, and requests the GIL
// as any thread would. CPython's eval loop responds: it drops the GIL and takes it back. Both begin by
// locking the GIL's mutex, through a slot of libpython that is redirected to here. On the loop's thread
// these locks alternate: drop, take, drop, take. At a take the GIL is released and nothing is held, so any
// other thread might run, and so may any fiber: a marked one is suspended there. No structure of CPython is
// read.
//
// Never preempted are the loop itself, sections that forbid suspension, and garbage collections.
class Preemption final : public Watchdog::Duty {
 public:
  // Called on the watchdog's thread, with the GIL held: C code of the fiber that ran has kept the GIL for
  // `seconds` although it was requested. `still_running` means that this fiber is still where it released the
  // GIL, and stays there meanwhile.
  using OnGilHog = void (*)(double seconds, bool still_running) noexcept;

  // `quantum_s`: how long a fiber runs before it gives way; 0 disables it. On the loop's thread, GIL held.
  Preemption(double quantum_s, OnGilHog on_gil_hog);
  ~Preemption();
  Preemption(const Preemption&) = delete;
  Preemption& operator=(const Preemption&) = delete;

  // The calls to redirect in libpython before start().
  static std::vector<blocking::Call> calls();

  // Finds the GIL's mutex, tests that its locks alternate as described, and watches them; with a quantum,
  // `watchdog` does so. Returns false if they do not alternate: then fibers are not preempted with this
  // CPython.
  bool start(Watchdog& watchdog);

  // In a child that the worker forked, which has no watchdog and no loop.
  static void forget_in_child() noexcept;

 private:
  bool learn_mutex() noexcept;
  void hook_gc();
  void unhook_gc() noexcept;
  std::int64_t look(Watchdog& watchdog) override;
  bool is_news() const noexcept override;
  void ask_for_gil(Watchdog& watchdog, std::uint64_t run);

  const std::int64_t quantum_ns_;
  const OnGilHog on_gil_hog_;
  PyRef gc_begins_;
  PyRef gc_ends_;
  std::uint64_t seen_run_ = 0;  // The watchdog's.
};

// Counts the turns that fibers get, for the watchdog. Called by VirtualThread on each switch;
// odd while a fiber runs.
void note_switch() noexcept;

// How many times a fiber has started or resumed. The loop's thread.
std::uint64_t switch_count() noexcept;

// How many times a fiber has been preempted. The loop's thread.
std::uint64_t preemption_count() noexcept;

// How many times the loop's thread has released or taken the GIL, if that is watched. For tests.
std::uint64_t gil_lock_count() noexcept;

}  // namespace python
