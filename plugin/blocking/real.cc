#include "plugin/blocking/real.h"

#include <cassert>

namespace blocking::real {
namespace {

// Opened without redirection: nothing is redirected before the engine starts.
void* libc() noexcept {
  static void* const handle = ::dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return handle;
}

}  // namespace

void* find(const char* name) noexcept {
  void* const found = find_if_any(name);
  assert(found != nullptr);
  return found;
}

void* find_if_any(const char* name) noexcept {
  void* found = libc() == nullptr ? nullptr : ::dlsym(libc(), name);
  // Before glibc 2.34 threads and dlopen lived in libraries of their own.
  if (found == nullptr) found = ::dlsym(RTLD_DEFAULT, name);
  return found;
}

}  // namespace blocking::real
