// The table entry of one redirected call.
#pragma once

#include <cerrno>

namespace blocking {

// In which kinds of objects a call is redirected (object_choice.h).
enum class Scope : unsigned {
  kLibpythonOnly = 1,  // In other objects the call means something else.
  kNotLibpython = 2,   // The libraries on the list.
  kEveryObject = 3,    // Both.
  kAnyLibrary = 6,     // Every library, listed or not: for locks, which it may hold while a listed one waits.
  kAnywhere = 7,       // And libpython.
};

struct Call {
  const char* name;  // The dynamic symbol.
  void* replacement;
  Scope scope = Scope::kEveryObject;
};

template <typename Function>
void* address_of(Function* function) noexcept {
  return reinterpret_cast<void*>(function);
}

// On success restores errno, as libc does, however often a try has failed meanwhile.
template <auto Function>
struct ErrnoKept;
template <typename Result, typename... Arguments, Result (*Function)(Arguments...) noexcept>
struct ErrnoKept<Function> {
  static Result call(Arguments... arguments) noexcept {
    const int saved_errno = errno;
    const Result result = Function(arguments...);
    if (result >= 0) errno = saved_errno;
    return result;
  }
};

// The address of `Function`, a call that fails with -1 and errno.
template <auto Function>
void* keeping_errno() noexcept {
  return address_of(ErrnoKept<Function>::call);
}

}  // namespace blocking
