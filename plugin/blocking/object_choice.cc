#include "plugin/blocking/object_choice.h"

#include <algorithm>
#include <iterator>

namespace blocking {
namespace {

// Libraries that may suspend: locks that they hold across a wait are known (mutex_calls.cc). A wheel
// bundles the same under a hashed name ("libpq-9b38f5e3.so.5.17").
constexpr std::string_view kKnownSafe[] = {
    // Databases and stores.
    "libpq",
    "libmariadb",
    "libmysqlclient",
    "libsqlite3",
    "libhiredis",
    "libmemcached",
    "libmemcachedutil",
    "liblmdb",
    "libleveldb",
    "librocksdb",
    "libdb",
    "libmongoc",
    "libcassandra",
    "libscylla-cpp-driver",
    "libsybdb",
    "libct",
    "libtdsodbc",
    "libodbc",
    "libodbcinst",
    "psqlodbca",
    "psqlodbcw",
    "libmaodbc",
    "libmyodbc8a",
    "libmyodbc8w",
    "libsqlite3odbc",
    "libfbclient",
    "libxapian",
    // Network protocols.
    "libssl",
    "libcrypto",
    "libgnutls",
    "libcurl",
    "libcurl-gnutls",
    "libcurl-nss",
    "libnghttp2",
    "libssh",
    "libssh2",
    "librtmp",
    "libcares",
    "libldap",
    "libldap_r",
    "liblber",
    "libsasl2",
    "libgssapi_krb5",
    "libkrb5",
    "libkrb5support",
    "libgssapi",
    "libgrpc",
    "libgrpc++",
    "libgrpc_unsecure",
    "libgpr",
    "librdkafka",
    "libzmq",
    "libnorm",
    "libpgm",
    "librabbitmq",
    "libmosquitto",
    "libgit2",
    "librados",
    "libceph-common",
    "libunbound",
    "libgetdns",
    "libtirpc",
    "libnetsnmp",
    "libsmbclient",
    "libxml2",
    "libpcap",
    "libnl-3",
    "libvirt",
    // Loops and the system's services.
    "libuv",
    "libglib-2.0",
    "libgio-2.0",
    "libdbus-1",
    "libsystemd",
    "libudev",
    "libgpgme",
    "libassuan",
    "libapt-pkg",
    "libp11-kit",
    "libusb-1.0",
};

// Those that calls are redirected to, the loader, the loop's, and sanitizers, which are below libc.
constexpr std::string_view kBelow[] = {
    "libc",      "libpthread", "libdl",    "librt",           "libm",
    "libresolv", "libnsl",     "libanl",   "ld-linux-x86-64", "ld-linux-aarch64",
    "ld",        "linux-vdso", "libev",    "libasan",         "libtsan",
    "libubsan",  "liblsan",    "libgcc_s",
};

// Web applications do not use their waiting calls, or these wait only for a moment.
constexpr std::string_view kHarmless[] = {
    "libstdc++",  "libuuid",  "libblkid",     "libmount", "libselinux",  "libcap",      "libbsd",
    "libnuma",    "libgomp",  "libgfortran",  "libtinfo", "libncursesw", "libreadline", "libxcb",
    "libX11",     "libXdmcp", "libtcl8",      "libBLT",   "liblzma",     "libzstd",     "libre2",
    "libopenjp2", "libwebp",  "libgpg-error", "libc++",   "libpcre2-8",  "libopenblas", "libblas",
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

template <std::size_t count>
bool any_names(const std::string_view (&names)[count], std::string_view file) noexcept {
  return std::any_of(std::begin(names), std::end(names),
                     [file](std::string_view name) { return names_library(file, name); });
}

// The main program, which is uWSGI where it is not CPython's, and uWSGI's plugins, "python3_plugin.so".
bool is_uwsgi(std::string_view file) noexcept { return file.empty() || contains(file, "_plugin.so"); }

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
  if (any_names(choice.native_libs, file)) return Kind::kLeftAlone;
  if (any_names(choice.suspend_libs, file)) return Kind::kListed;
  if (is_extension_module(file)) return Kind::kListed;
  if (any_names(kKnownSafe, file)) return Kind::kListed;
  return is_uwsgi(file) || is_below(file) ? Kind::kLeftAlone : Kind::kLocksOnly;
}

bool is_below(std::string_view file) noexcept { return any_names(kBelow, file); }

bool waits_harmlessly(std::string_view file) noexcept { return any_names(kHarmless, file); }

}  // namespace blocking
