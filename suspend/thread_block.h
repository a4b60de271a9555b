// What makes a fiber a thread to C.
#pragma once

#include <pthread.h>
#include <setjmp.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "suspend/stack.h"
#include "suspend/thread_pointer.h"

namespace suspend {

// A thread of libc's without a kernel thread: a thread control block, with thread_local data,
// pthread keys, errno and a pthread_t of its own, at the top of a fiber's stack. Code that runs
// while the thread pointer is pointer() finds these in place of the OS thread's.
//
// A donor thread is started on the stack and leaves the kernel at once, by a bare exit system
// call that runs none of libc's clean-up. What it leaves is complete, and known to libc, which
// initialises in it the thread-local data of objects that are loaded later. At its end a kernel
// thread is made that goes on where the donor left, so that libc itself runs destructors and
// frees what the thread had (docs/decisions/0011-thread-control-blocks.md).
//
// Of libc's own data the words that malloc() keeps per thread stay the OS thread's: they are
// carried along by enter() and leave(), so that fibers share one cache of free memory.
class ThreadBlock {
 public:
  // Takes the top of `stack`, which outlives it. Throws std::bad_alloc where no thread can be made.
  explicit ThreadBlock(Stack& stack);
  // Runs the thread's destructors, on a kernel thread of their own, and waits for their end.
  // REQUIRES: nothing runs on the stack.
  ~ThreadBlock();
  ThreadBlock(const ThreadBlock&) = delete;
  ThreadBlock& operator=(const ThreadBlock&) = delete;

  // Where the rest of the stack begins.
  void* stack_top() const noexcept { return stack_top_; }
  pthread_t id() const noexcept { return id_; }

  // By which libc tells threads apart where a lock has an owner: no kernel thread has such a number.
  pid_t number() const noexcept { return *tid_; }
  static bool is_number(pid_t number) noexcept { return number >= kFirstNumber; }

  // Makes this the thread that runs. Returns the thread pointer before, for leave().
  ThreadPointer enter() const noexcept;
  // Makes the thread with that thread pointer run again.
  void leave(ThreadPointer to) const noexcept;

  // While one lives, libc takes the calling kernel thread for the one of `block`, which has a number of
  // its own that the kernel does not know: for what asks the kernel about a thread by its pthread_t.
  // Mutexes are not locked or unlocked meanwhile: the number is what tells owners apart.
  class OnKernelThread {
   public:
    explicit OnKernelThread(const ThreadBlock& block) noexcept;
    ~OnKernelThread() { *tid_ = number_; }
    OnKernelThread(const OnKernelThread&) = delete;
    OnKernelThread& operator=(const OnKernelThread&) = delete;

   private:
    pid_t* const tid_;
    const pid_t number_;
  };

 private:
  static void* donate(void* self) noexcept;
  [[noreturn]] static void leave_kernel(ThreadBlock& self) noexcept;
  static int come_back(void* self) noexcept;
  void wait_for_donor() noexcept;

  // The kernel's numbers go up to 2^22; a mutex keeps 30 bits of one.
  static constexpr pid_t kFirstNumber = 1 << 24;
  static constexpr pid_t kNumbers = (1 << 29) - kFirstNumber;
  static pid_t next_number() noexcept;

  Stack& stack_;
  ThreadPointer pointer_ = 0;  // Written by the donor, last.
  pthread_t id_ = 0;
  pid_t* tid_ = nullptr;      // libc's note of the kernel thread.
  pid_t* cleared_ = nullptr;  // What the kernel sets to 0 as the kernel thread ends.
  pid_t donor_ = 0;
  void* stack_top_ = nullptr;
  jmp_buf donor_frames_;
};

}  // namespace suspend
