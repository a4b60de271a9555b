#include "plugin/loop/private_library.h"

#include <dlfcn.h>

namespace loop {

PrivateLibrary::PrivateLibrary(const char* file_name) noexcept
    : handle_(dlopen(file_name, RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) error_ = dlerror();
}

void* PrivateLibrary::address_of(const char* name) noexcept {
  if (handle_ == nullptr) return nullptr;
  void* const address = dlsym(handle_, name);
  if (address == nullptr) error_ = dlerror();
  return address;
}

}  // namespace loop
