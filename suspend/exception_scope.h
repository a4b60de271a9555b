// C++ exception state kept per stack.
#pragma once

#include <cxxabi.h>

#include <cstring>

namespace suspend {

// Saves this stack's C++ exceptions while another stack of the same thread runs, and restores them
// afterwards. The C++ runtime keeps them per thread: without this, two coroutines suspended inside `catch`
// would rethrow each other's exception. A stack may continue as another thread than it was left as.
class ExceptionScope {
 public:
  ExceptionScope() noexcept { std::memcpy(&saved_, globals(), sizeof saved_); }
  ~ExceptionScope() { std::memcpy(globals(), &saved_, sizeof saved_); }
  ExceptionScope(const ExceptionScope&) = delete;
  ExceptionScope& operator=(const ExceptionScope&) = delete;

  // What a new stack starts with: no exception in flight.
  static void start_clean() noexcept { std::memset(globals(), 0, sizeof(Globals)); }

 private:
  // The Itanium C++ ABI, section 2.2.2 "Caught Exception Stack".
  struct Globals {
    void* caught_exceptions;
    unsigned int uncaught_exceptions;
  };

  // Called again each time: the function is declared const, so a compiler may call it only once.
  static void* globals() noexcept {
    abi::__cxa_eh_globals* (*const volatile ask)() = abi::__cxa_get_globals;
    return ask();
  }

  Globals saved_;
};

}  // namespace suspend
