// Who a fiber is to CPython: its own thread.
#pragma once

#include <pthread.h>

#include <vector>

#include "plugin/blocking/call.h"
#include "suspend/fiber.h"

namespace blocking {

// The thread ident of `fiber`: its address, which no real thread has.
inline pthread_t identity_of(const suspend::Fiber& fiber) noexcept {
  return reinterpret_cast<pthread_t>(&fiber);
}

// While one lives, the ident of `fiber` is known to be one of the loop's thread. Made on that
// thread; asked about on any.
class Identity {
 public:
  explicit Identity(const suspend::Fiber& fiber);
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

 private:
  const pthread_t ident_;
};

// While one lives, libpython's pthread_self() on this thread answers with `fiber`'s ident
// although it does not run: a thread state takes its ident as it is created.
class BorrowedIdentity {
 public:
  explicit BorrowedIdentity(const suspend::Fiber& fiber) noexcept;
  ~BorrowedIdentity();
  BorrowedIdentity(const BorrowedIdentity&) = delete;
  BorrowedIdentity& operator=(const BorrowedIdentity&) = delete;
};

// While shown, libpython's pthread_self() answers with the loop thread's ident in a fiber, too: what
// CPython has its main thread do alone, the fiber does then. The loop's thread only.
void show_loop_thread(bool shown) noexcept;

std::vector<Call> identity_calls();

}  // namespace blocking
