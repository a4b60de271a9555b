#include "plugin/blocking/real.h"

#include <cassert>

#include "plugin/blocking/object_choice.h"

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
  // Before glibc 2.34 threads and dlopen lived in libraries of their own, which come first here.
  void* const found = ::dlsym(RTLD_DEFAULT, name);
  return found != nullptr || libc() == nullptr ? found : ::dlsym(libc(), name);
}

bool is_interposed(void* function) noexcept {
  Dl_info holder;
  return dladdr(function, &holder) != 0 && holder.dli_fname != nullptr && !is_below(file_name(holder.dli_fname));
}

}  // namespace blocking::real
