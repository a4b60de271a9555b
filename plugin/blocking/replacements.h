// Every call that is redirected, and every other that is known to wait.
#pragma once

#include <string_view>
#include <vector>

#include "plugin/blocking/call.h"

namespace blocking {

struct Replacement {
  const char* name;  // As the dynamic symbol is spelt.
  void* replacement;
  Scope scope;
  std::string_view group;  // What calls of its kind do, as docs/blocking.md says it.
};

// The group that stays where no call may suspend: who a fiber is.
inline constexpr std::string_view kIdentityGroup = "identity";

// The table: a name comes once for libpython and once for other objects at most.
const std::vector<Replacement>& replacements();

// A call that may wait and is left to libc.
struct LeftAlone {
  const char* name;
  Scope scope;
  const char* why;
};
const std::vector<LeftAlone>& left_alone();

}  // namespace blocking
