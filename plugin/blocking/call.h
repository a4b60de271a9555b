// The table entry of one redirected call.
#pragma once

#include <cstdint>

namespace blocking {

// Where a call is redirected.
enum class Scope {
  kEveryObject,    // Every object on the list.
  kLibpythonOnly,  // libpython alone: elsewhere the call means something else.
};

struct Call {
  const char* name;  // As the dynamic symbol is spelt.
  void* replacement;
  Scope scope = Scope::kEveryObject;
};

// How often each kind of wait suspended a request since the worker started. The loop's thread only.
struct Counters {
  std::uint64_t io = 0;
  std::uint64_t sleep = 0;
  std::uint64_t lock = 0;
};
inline Counters counters;

template <typename Function>
void* address_of(Function* function) noexcept {
  return reinterpret_cast<void*>(function);
}

}  // namespace blocking
