// Makes a fiber a thread to C code.
#pragma once

#include <pthread.h>
#include <setjmp.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "suspend/stack.h"
#include "suspend/thread_pointer.h"

namespace suspend {

// A libc thread without a kernel thread: a thread control block at the top of a fiber's stack, with its own
// thread_local data, pthread keys, errno and pthread_t. Code that runs while the thread pointer is pointer()
// finds these instead of the OS thread's.
//
// To make one, a donor thread is started on the stack. It leaves the kernel at once, by a bare exit system
// call that runs none of libc's clean-up. The thread it leaves behind is complete and known to libc, which
// also initialises in it the thread-local data of objects that are loaded later. At its end, a kernel thread
// is made that continues where the donor left, so that libc itself runs the destructors and frees what the
// thread had (docs/decisions/0011-thread-control-blocks.md).
//
// The words of libc in which malloc() keeps its per-thread data stay those of the OS thread: enter() and
// leave() carry them along, so that all fibers share one cache of free memory.
class ThreadBlock {
 public:
  // Uses the top of `stack`, which must outlive it. Throws std::bad_alloc if no thread can be made.
  explicit ThreadBlock(Stack& stack);
  // Runs the thread's destructors on a kernel thread and waits for them. REQUIRES: nothing runs on the
  // stack.
  ~ThreadBlock();
  ThreadBlock(const ThreadBlock&) = delete;
  ThreadBlock& operator=(const ThreadBlock&) = delete;

  // The top of the rest of the stack.
  void* stack_top() const noexcept { return stack_top_; }
  pthread_t id() const noexcept { return id_; }

  // The number by which libc identifies the owner of a lock. No kernel thread has such a number.
  pid_t number() const noexcept { return *tid_; }
  static bool is_number(pid_t number) noexcept { return number >= kFirstNumber; }

  // Makes this the running thread. Returns the previous thread pointer, for leave().
  ThreadPointer enter() const noexcept;
  // Makes the thread with that thread pointer the running one again.
  void leave(ThreadPointer to) const noexcept;

  // While one exists, libc takes the calling kernel thread for the thread of `block`, which has a number that
  // the kernel does not know: for calls that ask the kernel about a thread by its pthread_t. Do not lock or
  // unlock mutexes meanwhile, because that number identifies owners.
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
  pid_t* cleared_ = nullptr;  // The kernel sets this to 0 when the kernel thread ends.
  pid_t donor_ = 0;
  void* stack_top_ = nullptr;
  jmp_buf* donor_frames_ = nullptr;  // On the stack, in a page that is used anyhow.
};

}  // namespace suspend
