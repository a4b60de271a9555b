// The table entry of one redirected call.
#pragma once

#include <cerrno>

namespace blocking {

// Where a call is redirected: sets of kinds of objects (object_choice.h).
enum class Scope : unsigned {
  kLibpythonOnly = 1,  // Elsewhere the call means something else.
  kNotLibpython = 2,   // The libraries on the list.
  kEveryObject = 3,    // Both.
  kAnyLibrary = 6,  // Every library, listed or not: locks, which a library may hold while a listed one waits.
  kAnywhere = 7,    // And libpython.
};

struct Call {
  const char* name;  // As the dynamic symbol is spelt.
  void* replacement;
  Scope scope = Scope::kEveryObject;
};

template <typename Function>
void* address_of(Function* function) noexcept {
  return reinterpret_cast<void*>(function);
}

// Success leaves errno as it was, as libc's calls do, however often a try has failed meanwhile.
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

// The address of `Function`, a call that says by -1 that it failed and by errno why.
template <auto Function>
void* keeping_errno() noexcept {
  return address_of(ErrnoKept<Function>::call);
}

}  // namespace blocking
