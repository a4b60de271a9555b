// Threads that are to get no signals: those are for the process's main thread.
#pragma once

#include <pthread.h>
#include <csignal>

namespace suspend {

// While one lives, this thread has every signal blocked, and a thread that it starts is born so.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace suspend
