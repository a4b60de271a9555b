// Which objects may suspend their requests, by name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace blocking {

enum class Kind {
  kLibpython,  // Where CPython itself is linked: libpython, or the main program of a static build.
  kListed,     // An extension module, or a library known to be safe.
  kLocksOnly,  // Any other: only its use of locks and of the loader is redirected.
  kLeftAlone,  // A target of redirected calls, or part of the loop.
};
constexpr std::size_t kKinds = 4;

// What to add to and remove from the built-in list: the start of a file name, "libfoo".
struct ObjectChoice {
  std::vector<std::string> suspend_libs;
  std::vector<std::string> native_libs;
};

// True for libc, the loader and the like, to which calls are redirected.
bool is_below(std::string_view file) noexcept;

// True for a library that waits by itself: it is not on the list and need not be.
bool waits_harmlessly(std::string_view file) noexcept;

// Classifies an object by its path. `holds_python` says that CPython's own code is in it.
Kind classify(std::string_view path, bool holds_python, const ObjectChoice& choice);

// The part after the last slash.
std::string_view file_name(std::string_view path) noexcept;

// "libpq" names libpq.so.5 and libpq-9b38f5e3.so.5.17, not libpqxx.so.
bool names_library(std::string_view file, std::string_view name) noexcept;

}  // namespace blocking
