// Every call that is redirected, and every other call that is known to wait.
#pragma once

#include <string_view>
#include <vector>

#include "plugin/blocking/call.h"
#include "plugin/blocking/object_choice.h"

namespace blocking {

struct Replacement {
  const char* name;  // As the dynamic symbol is spelt.
  void* replacement;
  Scope scope;
  std::string_view group;  // The kind of call, in the words of docs/blocking.md.
  bool waits;              // A library that imports it waits for others, not just for files.
};

inline bool reaches(Scope scope, Kind kind) noexcept {
  return kind != Kind::kLeftAlone && (static_cast<unsigned>(scope) >> static_cast<unsigned>(kind) & 1) != 0;
}

// The group that stays redirected if no call may suspend: the identity of fibers.
inline constexpr std::string_view kIdentityGroup = "identity";

// The table. A name occurs at most once for each kind of object.
const std::vector<Replacement>& replacements();

struct Reason {
  const char* text;
  bool waits;  // As of a Replacement.
};

// A call that may wait and is left to libc.
struct LeftAlone {
  const char* name;
  Scope scope;
  Reason why;
};
const std::vector<LeftAlone>& left_alone();

}  // namespace blocking
