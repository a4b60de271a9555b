#include "plugin/blocking/loader_calls.h"

#include "plugin/blocking/redirection.h"
#include "plugin/blocking/real.h"

namespace blocking {
namespace {

// The loader takes a path's meaning from its caller; CPython and the libraries on the list
// pass whole paths or bare names, which mean the same here.
void* looking_dlopen(const char* path, int flags) noexcept {
  void* const handle = real::dlopen(path, flags);
  if (handle != nullptr) Redirection::look_again();
  return handle;
}

}  // namespace

std::vector<Call> loader_calls() { return {{"dlopen", address_of(looking_dlopen)}}; }

}  // namespace blocking
