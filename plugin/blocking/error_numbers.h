// Results of a call that libc keeps per OS thread.
#pragma once

#include <netdb.h>

#include <cerrno>

namespace blocking {

// errno and h_errno, carried from one thread to another or across a switch of fibers.
class ErrorNumbers {
 public:
  static ErrorNumbers of_this_thread() noexcept { return {errno, h_errno}; }

  void set() const noexcept {
    errno = error_;
    h_errno = host_error_;
  }

 private:
  ErrorNumbers(int error, int host_error) noexcept : error_(error), host_error_(host_error) {}

  int error_;
  int host_error_;
};

}  // namespace blocking
