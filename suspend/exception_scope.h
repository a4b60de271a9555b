// C++ exception state kept per stack.
#pragma once

#include <cxxabi.h>

#include <cstring>

namespace suspend {

// Sets this stack's C++ exceptions aside while another stack runs, and brings
// them back. The C++ runtime keeps them per OS thread: without this, two fibers
// suspended inside `catch` rethrow each other's exception.
class ExceptionScope {
 public:
  ExceptionScope() noexcept { std::memcpy(&saved_, abi::__cxa_get_globals(), sizeof saved_); }
  ~ExceptionScope() { std::memcpy(static_cast<void*>(abi::__cxa_get_globals()), &saved_, sizeof saved_); }
  ExceptionScope(const ExceptionScope&) = delete;
  ExceptionScope& operator=(const ExceptionScope&) = delete;

  // What a new stack starts with: no exception in flight.
  static void start_clean() noexcept {
    std::memset(static_cast<void*>(abi::__cxa_get_globals()), 0, sizeof(Globals));
  }

 private:
  // The Itanium C++ ABI, section 2.2.2 "Caught Exception Stack".
  struct Globals {
    void* caught_exceptions;
    unsigned int uncaught_exceptions;
  };
  Globals saved_;
};

}  // namespace suspend
