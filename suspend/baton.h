// How a fiber waits, how its wait ends, and how it is ended from outside.
//
// A task is what runs on a fiber, one after another: a request, or a function of spawn(). Whatever it waits
// for, it waits in Baton::wait(): a source posts the baton, a deadline is a post of kTimedOut, and
// Interrupt::begin() ends the wait of a task that is to end. Each of them makes the loop switch to the fiber
// again (Fiber::resume()), and wait() returns how it was ended. Only a task that computes is suspended
// without a baton: it gives way.
#pragma once

#include <atomic>

#include "suspend/fiber.h"

namespace suspend {

// How a wait ended.
enum class Woken {
  kNotYet,
  kPosted,  // What it waited for has come, or may have come: the caller looks again.
  kTimedOut,
  kClosed,       // A descriptor was closed meanwhile; its number may mean another file by now.
  kInterrupted,  // The task is to wait no more (Interrupt). The caller fails, and its error ends the task.
};

// Whether a wait may be ended before what it waits for has come. Where it may, whoever would have
// posted is told after the wait: by the guard that leaves its scope, or by the code that follows.
enum class Abort { kAllowed, kNever };

// One wait of a fiber. It lives on the stack of the fiber that waits; others post it.
//
//   Baton baton(fiber, "lock", Abort::kAllowed);
//   queue.push(&baton);                                   // From here on others may post it.
//   if (baton.wait() == Woken::kInterrupted) queue.remove(&baton);
//
// The first post wins, and later ones do nothing. A post that comes before wait() is kept, so none is lost.
class Baton {
 public:
  // `what` lives for ever ("sleep", "lock"); `fd` is the descriptor waited for, or -1.
  Baton(Fiber& fiber, const char* what, Abort abort, int fd = -1) noexcept
      : fiber_(fiber), what_(what), fd_(fd), abort_(abort) {}
  // Waits for a post that is on its way: whoever carries it has the baton's address.
  ~Baton() {
    if (woken() == kOnItsWay) wait();
  }
  Baton(const Baton&) = delete;
  Baton& operator=(const Baton&) = delete;

  // Suspends the fiber until the baton is posted. A wait that may be ended does not begin where the task
  // is interrupted. REQUIRES: the fiber runs.
  Woken wait() noexcept;

  // These return false where the baton was posted before.
  // Resumes the fiber here and now; called by a fiber, in the next turn of the loop. The loop's thread.
  bool post(Woken how = Woken::kPosted) noexcept;
  // Resumes it in the next turn, also where its wait had not begun: others run before. The loop's thread.
  bool post_next_turn(Woken how = Woken::kPosted) noexcept;
  // The same from any thread, and from a signal handler.
  bool post_soon() noexcept;

  const char* what() const noexcept { return what_; }
  int fd() const noexcept { return fd_; }
  Fiber& fiber() const noexcept { return fiber_; }

 private:
  friend class Interrupt;
  friend class Resumer;

  // Posted, and to be delivered by the loop.
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

// Whether the waits of a task are to be ended. The layer above has one for each task
// (python::TaskState), and begins it at a deadline, when a client leaves and when the worker ends.
class Interrupt {
 public:
  // Ends the wait that `fiber`, which runs the task, is in, and each later one as it begins, until end().
  // Waits with Abort::kNever, and a fiber that does not wait, go on. From outside any fiber.
  void begin(Fiber& fiber) noexcept;
  void end() noexcept { wanted_ = met_ = false; }

  bool wanted() const noexcept { return wanted_; }
  // Wanted, and not kept off by a shield. Shields nest.
  bool in_force() const noexcept { return wanted_ && shields_ == 0; }
  void shield() noexcept { ++shields_; }
  void unshield() noexcept { --shields_; }
  // A wait has been ended for it.
  bool met() const noexcept { return met_; }

 private:
  friend class Baton;

  bool wanted_ = false;
  bool met_ = false;
  int shields_ = 0;
};

// Delivers posts on the loop's thread. One is installed by the layer that has the loop.
class Resumer {
 public:
  // Null: there is no loop any more, and posts that go through it do nothing.
  static void install(Resumer* resumer) noexcept { installed_.store(resumer, std::memory_order_release); }
  // Has the loop, if there is one, look round without having slept. Any thread, and signal handlers.
  static void ring_installed() noexcept {
    if (Resumer* const resumer = installed_.load(std::memory_order_acquire)) resumer->ring();
  }

 protected:
  ~Resumer() = default;

  // Has deliver(baton) called in the next turn. The loop's thread.
  virtual void next_turn(Baton& baton) noexcept = 0;
  // Has deliver_posted() called on the loop's thread. Any thread, and signal handlers.
  virtual void ring() noexcept = 0;

  static void deliver(Baton& baton) noexcept { baton.deliver(); }
  void deliver_posted() noexcept;

 private:
  friend class Baton;

  void push(Baton& baton) noexcept;

  std::atomic<Baton*> posted_{nullptr};  // The last one first.
  Baton* in_order_ = nullptr;            // Taken from there, not delivered yet. The loop's thread only.

  static inline std::atomic<Resumer*> installed_{nullptr};
};

}  // namespace suspend
