// Greenlets: parts of a Python thread that switch to each other directly.
#pragma once

#include <Python.h>

#include <vector>

#include "plugin/greenlet/greenlet_stack.h"
#include "plugin/python/gil.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/virtual_thread.h"

namespace python {

class GreenletThread;

// The Python object. Its references are owned.
struct Greenlet {
  enum class Phase { kNew, kActive, kDead };

  PyObject_HEAD PyObject* dict;
  PyObject* weak_references;
  Greenlet* parent;
  PyObject* run;      // Until it has begun.
  PyObject* context;  // Until it has begun; then its state has it.
  PyObject* args;     // What the switch to it passes; null if an exception is thrown.
  PyObject* kwargs;

  GreenletThread* thread;         // Once started; counted by GreenletThread::keep().
  GreenletStack* stack;           // While active, unless it is the main one.
  suspend::Coroutine* coroutine;  // While active.
  PyThreadState* state;           // Where it stands; while active.
  PyObject* entry;                // The function it runs, from the start until it has begun.
  Phase phase;
  bool is_main;
  unsigned generation;  // GreenletStack::generation() of the process that it stands in.
  Greenlet* next;       // Among the active ones of its thread.
  Greenlet* previous;

  // It was on its stack when this process was forked from another, so it cannot continue here.
  bool lost() const noexcept { return phase == Phase::kActive && generation != GreenletStack::generation(); }
  bool active() const noexcept { return phase == Phase::kActive && !lost(); }
};

inline PyObject* as_object(Greenlet* greenlet) noexcept { return reinterpret_cast<PyObject*>(greenlet); }

// The greenlets of one Python thread: of a request, the loop, or one of Python's threads. One of them runs;
// the others wait where they switched. Greenlets switch only within their thread. But a request switches to
// the loop by switching to its parent, and then waits, suspended, until somebody switches to one of its
// greenlets. All members need the GIL.
class GreenletThread {
 public:
  // The object of the running thread, made on the first call. First kills the greenlets that wait to be
  // killed. Throws PyError.
  static GreenletThread& current();
  // The same, or null if it has none.
  static GreenletThread* current_or_null() noexcept;
  // The object that the greenlet belongs to, or would if started; null if an ancestor is gone.
  static GreenletThread* owner_of(const Greenlet* greenlet) noexcept;

  GreenletThread(const GreenletThread&) = delete;
  GreenletThread& operator=(const GreenletThread&) = delete;

  // switch() and throw(): `target` has its arguments, or an exception is pending. Throws PyError.
  // REQUIRES: this is current().
  PyRef go(Greenlet* target);

  // Throws GreenletExit into `greenlet`, which is active and not the one that runs.
  // REQUIRES: this is current(); no exception is pending.
  void kill(Greenlet* greenlet) noexcept;
  // Kills `greenlet` when this thread next asks for its greenlets. Takes a reference to it.
  void kill_later(Greenlet* greenlet);

  // Kills the active ones, because the thread ends.
  void end() noexcept;

  Greenlet* running() const noexcept { return running_; }
  Greenlet* main() const noexcept { return main_; }
  bool alive() const noexcept { return alive_; }
  // Its virtual thread. Null for the loop and for Python's own threads.
  VirtualThread* fiber() const noexcept { return fiber_; }

  PyObject* trace_function() const noexcept { return trace_function_; }  // Borrowed, may be null.
  void set_trace_function(PyRef function) noexcept;

  // Counts the pointers to it; it is deleted with the last.
  void keep() noexcept { ++users_; }
  void let_go() noexcept;

  // Number of these in the process, for leak checks and the package's own tests.
  static long count() noexcept { return count_; }

 private:
  explicit GreenletThread(VirtualThread* fiber) noexcept : fiber_(fiber) { ++count_; }
  ~GreenletThread();

  static GreenletThread& look_up(PyThreadState* state);
  static GreenletThread& make(PyObject* dict, PyThreadState* state, VirtualThread* fiber);
  static GreenletThread& of_loop();

  GreenletThread& without_deferred() noexcept {
    if (!to_kill_.empty()) kill_deferred();
    return *this;
  }
  // Lets current() find this thread by its running `state`, without looking into its dict.
  void note_running(PyThreadState* state) noexcept;
  void note_fork() noexcept;
  PyRef go_inside(Greenlet* target);
  PyRef go_to_loop(Greenlet* target);
  PyRef wake(GreenletThread& request, Greenlet* target);
  void check_may_go(const Greenlet* target) const;
  Greenlet* resolve(Greenlet* first);
  bool start(Greenlet* greenlet);
  void enter(Greenlet* greenlet) noexcept;
  PyRef arrived(Greenlet* me);
  void trace(const char* event, Greenlet* origin, Greenlet* target);
  void kill_deferred() noexcept;
  void take_in(Greenlet* greenlet) noexcept;
  void leave_out(Greenlet* greenlet) noexcept;

  static suspend::Coroutine& run(void* greenlet) noexcept;
  void begin(Greenlet* self) noexcept;
  suspend::Coroutine& finish(Greenlet* self, PyRef result) noexcept;

  VirtualThread* const fiber_;
  long users_ = 0;
  bool alive_ = true;
  bool lost_ = false;  // The thread ended in the middle of a greenlet, whose stack is left as it is.
  unsigned generation_ = 0;
  Greenlet* main_ = nullptr;            // Owned.
  Greenlet* running_ = nullptr;         // Owned.
  Greenlet* origin_ = nullptr;          // Owned; from enter() until arrived().
  GreenletStack* finished_ = nullptr;   // Likewise: what was left for good.
  PyObject* trace_function_ = nullptr;  // Owned.
  Greenlet* first_active_ = nullptr;    // Except the main one.
  std::vector<PyObject*> to_kill_;      // Owned.
  suspend::Coroutine main_coroutine_;
  PyThreadState* main_state_ = nullptr;

  // A request that waits on the loop.
  suspend::Baton* baton_ = nullptr;
  PyRef wake_target_;
  ErrorState wake_error_;
  // Its answer to the greenlet on the loop that switched to it.
  bool is_asked_ = false;
  PyRef answer_;
  ErrorState answer_error_;

  static inline long count_ = 0;
};

// Ends the greenlets of `thread`, the running one, when its request ends.
void end_greenlets_of(VirtualThread& thread) noexcept;
// Ends those of the loop and the stacks kept for reuse, when the worker ends. On the loop.
void end_greenlets_of_loop() noexcept;

PyTypeObject* greenlet_type();
PyObject* greenlet_error() noexcept;
PyObject* greenlet_exit() noexcept;

// The result of switch() for the arguments passed: the only argument alone, or all of them.
PyRef switch_result(PyRef args, PyRef kwargs);

}  // namespace python
