// A library that nobody else in the process shall find names in.
#pragma once

#include <string>

namespace loop {

// uWSGI opens its plugins with RTLD_GLOBAL: a library that a plugin is linked with has its names
// found before everybody's own. libev has names of libevent's, with structures of its own, and
// libcurl brings forty libraries that wheels have other versions of. So they are opened apart and
// called through tables of their functions, which costs what the PLT costs.
class PrivateLibrary {
 public:
  // Opened for the life of the process.
  explicit PrivateLibrary(const char* file_name) noexcept;

  template <typename Function>
  void find(const char* name, Function*& function) noexcept {
    function = reinterpret_cast<Function*>(address_of(name));
  }
  // Why the library, or a function that was looked for, is not there; empty where all is.
  const std::string& error() const noexcept { return error_; }

 private:
  void* address_of(const char* name) noexcept;

  void* const handle_;
  std::string error_;
};

}  // namespace loop
