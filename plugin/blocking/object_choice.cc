#include "plugin/blocking/object_choice.h"

#include <algorithm>
#include <array>

namespace blocking {
namespace {

// Libraries that may suspend: none waits on a condition variable, and a mutex held across a
// wait is known (mutex_calls.cc). A wheel bundles the same under a hashed name
// ("libpq-9b38f5e3.so.5.17").
constexpr std::array<std::string_view, 9> kKnownSafe = {
    "libpq",   "libmariadb", "libmysqlclient", "libssl",     "libcrypto",
    "libcurl", "libhiredis", "libmemcached",   "libsqlite3",
};

bool starts_with(std::string_view text, std::string_view start) noexcept {
  return text.substr(0, start.size()) == start;
}

bool contains(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

bool any_names(const std::vector<std::string>& names, std::string_view file) {
  return std::any_of(names.begin(), names.end(),
                     [file](const std::string& name) { return names_library(file, name); });
}

// "_ssl.cpython-311-x86_64-linux-gnu.so", "_cffi.abi3.so".
bool is_extension_module(std::string_view file) noexcept {
  return contains(file, ".cpython-") || contains(file, ".abi3.so");
}

}  // namespace

std::string_view file_name(std::string_view path) noexcept {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

bool names_library(std::string_view file, std::string_view name) noexcept {
  if (!starts_with(file, name)) return false;
  if (file.size() == name.size()) return true;
  const char next = file[name.size()];
  return next == '.' || next == '-';
}

Kind classify(std::string_view path, bool holds_python, const ObjectChoice& choice) {
  if (holds_python) return Kind::kLibpython;
  const std::string_view file = file_name(path);
  if (any_names(choice.native_libs, file)) return Kind::kOther;
  if (any_names(choice.suspend_libs, file)) return Kind::kListed;
  if (is_extension_module(file)) return Kind::kListed;
  const bool known = std::any_of(kKnownSafe.begin(), kKnownSafe.end(),
                                 [file](std::string_view name) { return names_library(file, name); });
  return known ? Kind::kListed : Kind::kOther;
}

}  // namespace blocking
