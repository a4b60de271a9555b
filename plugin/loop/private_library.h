// A library whose names no other code in the process can see.
#pragma once

#include <string>

namespace loop {

// uWSGI opens its plugins with RTLD_GLOBAL, so the names of any library that a plugin is linked with take
// precedence for everybody. libev shares names with libevent, with different structures, and libcurl brings
// forty libraries of which wheels carry other versions. So they are opened apart and called through tables of
// functions, at the cost of a PLT call.
class PrivateLibrary {
 public:
  // Stays open for the life of the process.
  explicit PrivateLibrary(const char* file_name) noexcept;

  template <typename Function>
  void find(const char* name, Function*& function) noexcept {
    function = reinterpret_cast<Function*>(address_of(name));
  }
  // Why the library or one of its functions is missing; empty if nothing is.
  const std::string& error() const noexcept { return error_; }

 private:
  void* address_of(const char* name) noexcept;

  void* const handle_;
  std::string error_;
};

}  // namespace loop
