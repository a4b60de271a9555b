#include "plugin/blocking/libc.h"

#include <dlfcn.h>
#include <link.h>

#include <cassert>

#include "plugin/blocking/object_choice.h"

namespace blocking::libc {
namespace {

// Opened without redirection: nothing is redirected before the engine starts.
void* libc() noexcept {
  static void* const handle = ::dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return handle;
}

// True for what the main program or this very object has under the name of a function. In a program that is
// not position-independent that is a stub, which calls through a slot that may be redirected.
bool is_own(void* function) noexcept {
  Dl_info holder, self;
  link_map* map = nullptr;
  if (dladdr1(function, &holder, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 || map == nullptr)
    return false;
  if (map->l_name[0] == '\0') return true;
  return dladdr(reinterpret_cast<void*>(&is_own), &self) != 0 && self.dli_fbase == holder.dli_fbase;
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
  if (found != nullptr && !is_own(found)) return found;
  void* const in_libc = libc() == nullptr ? nullptr : ::dlsym(libc(), name);
  return in_libc == nullptr ? found : in_libc;
}

bool is_interposed(void* function) noexcept {
  Dl_info holder;
  return dladdr(function, &holder) != 0 && holder.dli_fname != nullptr &&
         !is_below(file_name(holder.dli_fname));
}

}  // namespace blocking::libc
