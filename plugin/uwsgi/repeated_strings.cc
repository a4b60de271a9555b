#include "plugin/uwsgi/repeated_strings.h"

#include <Python.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "plugin/blocking/gate.h"
#include "plugin/blocking/got.h"
#include "plugin/blocking/libc.h"
#include "plugin/uwsgi/uwsgi_core.h"

extern "C" int uwsgi_response_subhandler_wsgi(struct wsgi_request*) __attribute__((weak));

namespace engine {
namespace {

// CPython's own. In an embedded build the calls of the whole program are redirected, those of this file too.
decltype(&PyUnicode_DecodeLatin1) real_decode_latin1 = nullptr;

// Fibonacci hashing.
constexpr std::uint64_t kSpread = 0x9E3779B97F4A7C15;
constexpr int kHashBits = 8;
constexpr int kShift = 64 - kHashBits;

// Looks names up by the address of the C string: a literal stays at its address. Other strings may come one
// after another at the same address, so the text is compared, too.
class Names {
 public:
  // Borrowed; null with an error set.
  PyObject* of(const char* text) noexcept {
    Pair& pair = pairs_[reinterpret_cast<std::uintptr_t>(text) * kSpread >> kShift];
    for (const Entry& entry : pair) {
      if (entry.address == text && std::strcmp(entry.text, text) == 0) return entry.name;
    }
    PyObject* const name = PyUnicode_InternFromString(text);
    const char* const kept = name == nullptr ? nullptr : PyUnicode_AsUTF8(name);
    if (kept == nullptr) {
      Py_XDECREF(name);
      return nullptr;
    }
    Py_XDECREF(std::exchange(pair[1], std::exchange(pair[0], {text, kept, name})).name);
    return name;
  }

 private:
  struct Entry {
    const char* address = nullptr;
    const char* text = nullptr;  // The name's own.
    PyObject* name = nullptr;
  };
  // The newer first. One alone would have two literals of one place replace each other at each request.
  using Pair = std::array<Entry, 2>;

  std::array<Pair, 1 << kHashBits> pairs_;
} names;

// The names of variables and such values as GET and HTTP/1.1 come in each request as new bytes: this keeps
// a str of each, found by its contents. What may be a secret or differs with each request is not kept.
class Tokens {
 public:
  // What PyUnicode_DecodeLatin1() returns: a new reference; null with an error set.
  PyObject* of(const char* text, Py_ssize_t size) noexcept {
    if (size < kShortest || size > kLongest) return real_decode_latin1(text, size, nullptr);
    Pair& pair = pairs_[hash(text, static_cast<std::size_t>(size))];
    for (PyObject* const kept : pair) {
      if (kept == nullptr || PyUnicode_GET_LENGTH(kept) != size) continue;
      if (std::memcmp(PyUnicode_DATA(kept), text, static_cast<std::size_t>(size)) != 0) continue;
      Py_INCREF(kept);
      return kept;
    }
    PyObject* made = real_decode_latin1(text, size, nullptr);
    if (made == nullptr || !is_token(text, text + size)) return made;
    intern(made);
    Py_INCREF(made);
    Py_XDECREF(std::exchange(pair[1], std::exchange(pair[0], made)));
    return made;
  }

 private:
  using Pair = std::array<PyObject*, 2>;

  // CPython keeps one of each single character.
  static constexpr Py_ssize_t kShortest = 2;
  static constexpr Py_ssize_t kLongest = 40;
  // From 3.12 on CPython never frees an interned str, and clients choose the names of headers.
  static constexpr int kMostInterned = 256;

  static bool is_token(const char* text, const char* end) noexcept {
    return std::all_of(text, end, [](char c) {
      return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '/' || c == '.' || c == '-';
    });
  }

  // Of its size, its beginning and its end: names of headers differ there.
  static std::size_t hash(const char* text, std::size_t size) noexcept {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    if (size >= sizeof begin) {
      std::memcpy(&begin, text, sizeof begin);
      std::memcpy(&end, text + size - sizeof end, sizeof end);
    } else {
      std::memcpy(&begin, text, size);
    }
    return ((begin ^ (end << 1 | end >> 63)) + size) * kSpread >> kShift;
  }

  void intern(PyObject*& made) noexcept {
    if (interned_ == kMostInterned) return;
    ++interned_;
    PyUnicode_InternInPlace(&made);  // An application's own constant is the same object then.
  }

  std::array<Pair, 1 << kHashBits> pairs_{};
  int interned_ = 0;
} tokens;

PyObject* decode_latin1(const char* text, Py_ssize_t size, const char*) noexcept {
  return tokens.of(text, size);  // Latin-1 has no errors to handle.
}

int set_item_string(PyObject* dict, const char* key, PyObject* value) noexcept {
  PyObject* const name = names.of(key);
  if (name == nullptr) return -1;
  Py_INCREF(name);  // What the value replaces may come here as it dies.
  const int status = PyDict_SetItem(dict, name, value);
  Py_DECREF(name);
  return status;
}

int lookup(PyObject* object, PyObject* name, PyObject** found) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return PyObject_GetOptionalAttr(object, name, found);
#else
  return _PyObject_LookupAttr(object, name, found);
#endif
}

int has_attr_string(PyObject* object, const char* attribute) noexcept {
  PyObject* const name = names.of(attribute);
  PyObject* found = nullptr;
  if (name != nullptr) {
    Py_INCREF(name);
    lookup(object, name, &found);
    Py_DECREF(name);
  }
  PyErr_Clear();  // As CPython's own does, whatever it was.
  const bool has = found != nullptr;
  Py_XDECREF(found);
  return has ? 1 : 0;
}

// Requests come again and again from the same client or proxy.
class AddressText {
 public:
  // What inet_ntop() returns and does. The loop's thread only.
  const char* of(int family, const void* address, char* text, socklen_t size) noexcept {
    const std::size_t address_size = family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
    if (family != family_ || std::memcmp(address, address_.data(), address_size) != 0) {
      family_ = AF_UNSPEC;
      if (blocking::libc::inet_ntop(family, address, text_.data(), text_.size()) == nullptr) return nullptr;
      family_ = family;
      std::memcpy(address_.data(), address, address_size);
      length_ = std::strlen(text_.data());
    }
    if (size <= length_) {
      errno = ENOSPC;
      return nullptr;
    }
    std::memcpy(text, text_.data(), length_ + 1);
    return text;
  }

 private:
  int family_ = AF_UNSPEC;
  std::array<unsigned char, sizeof(in6_addr)> address_{};
  std::array<char, INET6_ADDRSTRLEN> text_{};
  std::size_t length_ = 0;
} address_text;

const char* address_to_text(int family, const void* address, char* text, socklen_t size) noexcept {
  const bool known = family == AF_INET || family == AF_INET6;
  if (!known || !blocking::on_loop_thread()) return blocking::libc::inet_ntop(family, address, text, size);
  return address_text.of(family, address, text, size);
}

void redirect(const void* caller, const blocking::Replacements& replacements) {
  std::vector<blocking::Slot> slots;  // Never undone: the caller stays, and so do we.
  blocking::redirect(blocking::tables_of(caller), replacements, slots);
}

}  // namespace

void keep_repeated_strings() noexcept {
  static bool done = false;
  if (std::exchange(done, true)) return;
  try {
    blocking::Replacements of_python = {
        {"PyDict_SetItemString", reinterpret_cast<void*>(&set_item_string)},
        {"PyObject_HasAttrString", reinterpret_cast<void*>(&has_attr_string)}};
    real_decode_latin1 = reinterpret_cast<decltype(&PyUnicode_DecodeLatin1)>(
        blocking::libc::find_if_any("PyUnicode_DecodeLatin1"));
    if (real_decode_latin1 != nullptr) {
      of_python.emplace("PyUnicode_DecodeLatin1", reinterpret_cast<void*>(&decode_latin1));
    }
    redirect(reinterpret_cast<const void*>(&uwsgi_response_subhandler_wsgi), of_python);
    redirect(&uwsgi, {{"inet_ntop", reinterpret_cast<void*>(&address_to_text)}});
  } catch (const std::exception&) {
    // Out of memory: they are made each time.
  }
}

}  // namespace engine
