// A fiber that computes gives way where CPython would let another thread run.
#pragma once

#include <Python.h>
#include <pthread.h>

#include <cstdint>
#include <vector>

#include "plugin/blocking/call.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/watchdog.h"

namespace python {

// How it works. A watchdog thread sees that a fiber has run for its quantum, marks it, and
// asks for the GIL as any thread would. CPython's eval loop answers: it drops the GIL and goes
// to take it back, and both begin by locking the GIL's mutex, through a slot of libpython's
// that is redirected to here. On the loop's thread these locks alternate drop, take, drop,
// take; at a take the GIL is given up and nothing is held, so any thread might run, and so may
// any fiber: a marked one is suspended there. No structure of CPython's is read.
//
// Never preempted: the loop itself, a section that forbids suspension, a garbage collection.
class Preemption final : public Watchdog::Duty {
 public:
  // Told on the watchdog's thread, with the GIL held, that C code of the fiber that ran has
  // kept the GIL for `seconds` though it was asked for. `still_running`: that fiber stands
  // where it gave the GIL up, and stays there meanwhile.
  using OnGilHog = void (*)(double seconds, bool still_running) noexcept;

  // `quantum_s` is how long a fiber runs before it gives way; 0: none does. On the loop's thread, GIL held.
  Preemption(double quantum_s, OnGilHog on_gil_hog);
  ~Preemption();
  Preemption(const Preemption&) = delete;
  Preemption& operator=(const Preemption&) = delete;

  // What has to be redirected in libpython before start().
  static std::vector<blocking::Call> calls();

  // Finds the GIL's mutex, tests that its locks alternate as described, and has them watched; where
  // there is a quantum, `watchdog` looks after it. False when they do not: this CPython's fibers run
  // without preemption.
  bool start(Watchdog& watchdog);

  // In a child the worker forked: there is no watchdog and no loop.
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

// How many times a fiber has begun to run, or gone on. The loop's thread.
std::uint64_t switch_count() noexcept;

// How many times a fiber has been preempted. The loop's thread.
std::uint64_t preemption_count() noexcept;

// How many times the loop's thread has given the GIL up, or taken it, where that is watched. For tests.
std::uint64_t gil_lock_count() noexcept;

}  // namespace python
