// A virtual thread: a fiber that is a thread to Python.
#pragma once

#include <Python.h>

#include <cstddef>
#include <string>

#include "plugin/blocking/signal_mask.h"
#include "plugin/loop/io_loop.h"
#include "plugin/python/data_stack.h"
#include "plugin/python/task_state.h"
#include "plugin/python/thread_state.h"
#include "suspend/baton.h"

namespace python {

class GreenletThread;

// A fiber and its thread state, switched together. While it runs, current() returns it. Layers above derive
// from it to carry more across a switch.
class VirtualThread : public suspend::SwitchObserver {
 public:
  // With the hub's state attached. Throws std::bad_alloc.
  VirtualThread(const Hub& hub, loop::IoLoop& loop, std::size_t stack_size);
  VirtualThread(const VirtualThread&) = delete;
  VirtualThread& operator=(const VirtualThread&) = delete;

  suspend::Fiber& fiber() noexcept { return fiber_; }
  const suspend::Fiber& fiber() const noexcept { return fiber_; }
  const ThreadState& thread_state() const noexcept { return state_; }
  ThreadState& thread_state() noexcept { return state_; }
  loop::IoLoop& loop() const noexcept { return loop_; }

  // The virtual thread that runs on this OS thread, or null.
  static VirtualThread* current() noexcept {
    return suspend::Fiber::current() == nullptr ? nullptr : current_;
  }

  // The same for other threads that hold the GIL: while they hold it, no fiber is left or entered.
  static const VirtualThread* running_on_loop() noexcept { return current_; }

  // Names the thread that threading.current_thread() shows for this one. REQUIRES: this is current(),
  // with the GIL held.
  void set_name(const std::string& name) noexcept;

  // Gives way until no other fiber wants the CPU. REQUIRES: this is current(), and CPython is about to take
  // the GIL back for it: the state is detached, the GIL not held.
  void give_way() noexcept;

  // Its greenlets, or null while nobody has asked for any.
  GreenletThread* greenlets() const noexcept { return greenlets_; }
  void set_greenlets(GreenletThread* greenlets) noexcept { greenlets_ = greenlets; }

  // The state of the request or function that it runs.
  TaskState& task() noexcept { return task_; }
  const TaskState& task() const noexcept { return task_; }

  // Somebody asked for what this thread does, and their connection: -1 where it is closed, or nobody did.
  virtual bool has_client() const noexcept { return false; }
  virtual int client_fd() const noexcept { return -1; }

  bool may_suspend() const noexcept { return !task_.suspension_is_forbidden(); }

  void entering() noexcept override;
  void entered() noexcept override;
  void leaving() noexcept override;
  bool left() noexcept override;
  // Leaves the GIL as it was, held or released.
  void park(suspend::Fiber& fiber) noexcept override;
  suspend::Interrupt& interrupt() noexcept override { return task_.interrupt(); }

 protected:
  ~VirtualThread() = default;

  // A task begins.
  void begin_task() noexcept { task_ = TaskState(); }

  // Suspended by give_way(): its state stays detached until it runs again.
  bool gave_way() const noexcept { return gave_way_; }

 private:
  // The destructors of C's thread-local data run when the fiber ends, on their own thread, and may take the
  // GIL. Members are destroyed from last to first: the thread state, the release of the GIL, the fiber,
  // taking the GIL again.
  struct GilTakenBack {
    PyThreadState* state = nullptr;
    ~GilTakenBack() {
      if (state != nullptr) PyEval_RestoreThread(state);
    }
  };
  struct GilReleased {
    GilTakenBack& back;
    ~GilReleased() { back.state = PyEval_SaveThread(); }
  };

  const Hub& hub_;
  GilTakenBack gil_taken_back_;
  suspend::Fiber fiber_;
  GilReleased gil_released_{gil_taken_back_};
  ThreadState state_;
  DataStack data_stack_{state_.get(), fiber_.stack()};
  GreenletThread* greenlets_ = nullptr;
  TaskState task_;
  loop::IoLoop& loop_;
  bool gave_way_ = false;
  blocking::SignalMaskAside signal_mask_;

  static inline VirtualThread* current_ = nullptr;
};

// While one exists, no other fiber runs. Costs nothing on the loop's own stack.
class SuspensionForbidden {
 public:
  SuspensionForbidden() noexcept : thread_(VirtualThread::current()) {
    if (thread_ != nullptr) thread_->task().forbid_suspension();
  }
  ~SuspensionForbidden() {
    if (thread_ != nullptr) thread_->task().allow_suspension();
  }
  SuspensionForbidden(const SuspensionForbidden&) = delete;
  SuspensionForbidden& operator=(const SuspensionForbidden&) = delete;

 private:
  VirtualThread* const thread_;
};

// While one exists, the running thread may wait but is not preempted, so that no other request comes in
// between. Does nothing on the loop's own stack.
class NoPreemption {
 public:
  NoPreemption() noexcept : thread_(VirtualThread::current()) {
    if (thread_ != nullptr) thread_->task().keep_turn();
  }
  ~NoPreemption() {
    if (thread_ != nullptr) thread_->task().yield_turn();
  }
  NoPreemption(const NoPreemption&) = delete;
  NoPreemption& operator=(const NoPreemption&) = delete;

 private:
  VirtualThread* const thread_;
};

}  // namespace python
