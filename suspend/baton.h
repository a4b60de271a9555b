// How a fiber waits, and how its wait ends.
//
// A fiber runs one task after another; a task is a request or a function of spawn(). A task always waits in
// Baton::wait(). Three things end a wait: the source posts the baton, a deadline posts kTimedOut, or
// Interrupt::begin() ends it because the task is to end. In each case the loop resumes the fiber
// (Fiber::resume()), and wait() returns which of the three it was. The only suspension without a baton is
// preemption: a task that computes gives way.
#pragma once

#include <atomic>

#include "suspend/fiber.h"

namespace suspend {

// How a wait ended.
enum class Woken {
  kNotYet,
  kPosted,  // The awaited event has happened, or may have: the caller checks.
  kTimedOut,
  kClosed,       // The descriptor was closed meanwhile; its number may be another file's now.
  kInterrupted,  // The task must end (Interrupt). The caller fails, and its error ends the task.
};

// Whether an interrupt may end a wait early. If it may, the code after wait() (or a guard's destructor)
// withdraws the baton from whoever would have posted it.
enum class Abort { kAllowed, kNever };

// One wait of a fiber. It lives on the stack of the fiber that waits; others post it.
//
//   Baton baton(fiber, "lock", Abort::kAllowed);
//   queue.push(&baton);                                   // From here on, others may post it.
//   if (baton.wait() == Woken::kInterrupted) queue.remove(&baton);
//
// The first post wins; later ones do nothing. A post before wait() makes wait() return at once, so no
// wake-up is lost.
class Baton {
 public:
  // `what` names the wait in reports ("sleep", "lock") and is a string literal; `fd` is the awaited
  // descriptor, or -1.
  Baton(Fiber& fiber, const char* what, Abort abort, int fd = -1) noexcept
      : fiber_(fiber), what_(what), fd_(fd), abort_(abort) {}
  // Waits for a post that is on its way, because its carrier holds the baton's address.
  ~Baton() {
    if (woken() == kOnItsWay) wait();
  }
  Baton(const Baton&) = delete;
  Baton& operator=(const Baton&) = delete;

  // Suspends the fiber until the baton is posted, and returns how. With Abort::kAllowed it returns
  // kInterrupted at once if the task is interrupted already. REQUIRES: the fiber is running.
  Woken wait() noexcept;

  // These return false if the baton was posted before.
  // Resumes the fiber at once or, if the caller is on a fiber, in the next turn. The loop's thread.
  bool post(Woken how = Woken::kPosted) noexcept;
  // Resumes it in the next turn, even if its wait has not begun, so that others run first. The loop's thread.
  bool post_next_turn(Woken how = Woken::kPosted) noexcept;
  // The same from any thread, and from a signal handler.
  bool post_soon() noexcept;

  const char* what() const noexcept { return what_; }
  int fd() const noexcept { return fd_; }
  Fiber& fiber() const noexcept { return fiber_; }

 private:
  friend class Interrupt;
  friend class Resumer;

  // Posted, but not yet delivered by the loop.
  static constexpr Woken kOnItsWay = static_cast<Woken>(-1);

  Woken woken() const noexcept { return woken_.load(std::memory_order_acquire); }
  bool claim(Woken how) noexcept {
    Woken not_yet = Woken::kNotYet;
    return woken_.compare_exchange_strong(not_yet, how, std::memory_order_acq_rel);
  }
  void resume_if_waiting() noexcept;
  void deliver() noexcept;

  Fiber& fiber_;
  const char* const what_;
  const int fd_;
  const Abort abort_;
  Woken delivered_as_ = Woken::kPosted;
  std::atomic<Woken> woken_{Woken::kNotYet};
  Baton* next_ = nullptr;  // In the Resumer's list.
};

// Ends the waits of a task. The layer above keeps one for each task (python::TaskState). It calls begin()
// when a deadline passes, when the client disconnects and when the worker ends.
class Interrupt {
 public:
  // Ends the present wait of `fiber`, which runs the task, and until end() each later wait as it begins.
  // It does not end waits with Abort::kNever, nor stop a fiber that computes. Called outside any fiber.
  void begin(Fiber& fiber) noexcept;
  void end() noexcept { wanted_ = met_ = false; }

  bool wanted() const noexcept { return wanted_; }
  // Wanted, and not held off by a shield. Shields nest.
  bool in_force() const noexcept { return wanted_ && shields_ == 0; }
  void shield() noexcept { ++shields_; }
  void unshield() noexcept { --shields_; }
  // Whether it has ended a wait.
  bool met() const noexcept { return met_; }

 private:
  friend class Baton;

  bool wanted_ = false;
  bool met_ = false;
  int shields_ = 0;
};

// Delivers posts on the loop's thread. The layer that owns the loop installs one.
class Resumer {
 public:
  // Null means that the loop is gone; posts that need it then do nothing.
  static void install(Resumer* resumer) noexcept { installed_.store(resumer, std::memory_order_release); }
  // Wakes the loop, if there is one. Any thread, and signal handlers.
  static void ring_installed() noexcept {
    if (Resumer* const resumer = installed_.load(std::memory_order_acquire)) resumer->ring();
  }

 protected:
  ~Resumer() = default;

  // Must call deliver(baton) in the next turn. The loop's thread.
  virtual void next_turn(Baton& baton) noexcept = 0;
  // Must call deliver_posted() on the loop's thread. Any thread, and signal handlers.
  virtual void ring() noexcept = 0;

  static void deliver(Baton& baton) noexcept { baton.deliver(); }
  void deliver_posted() noexcept;

 private:
  friend class Baton;

  void push(Baton& baton) noexcept;

  std::atomic<Baton*> posted_{nullptr};  // A list, newest first.
  Baton* in_order_ = nullptr;            // Taken from posted_, not yet delivered. The loop's thread only.

  static inline std::atomic<Resumer*> installed_{nullptr};
};

}  // namespace suspend
