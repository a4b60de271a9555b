#include "plugin/uwsgi/interned_names.h"

#include <Python.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "plugin/blocking/got.h"

extern "C" int uwsgi_response_subhandler_wsgi(struct wsgi_request*) __attribute__((weak));

namespace engine {
namespace {

// Looks names up by the address of the C string: a literal stays at its address. Other strings may come one
// after another at the same address, so the text is compared, too.
class Names {
 public:
  // Borrowed; null with an error set.
  PyObject* of(const char* text) noexcept {
    Entry& entry = entries_[reinterpret_cast<std::uintptr_t>(text) * kSpread >> kShift];
    if (entry.address == text && std::strcmp(entry.text, text) == 0) return entry.name;
    PyObject* const name = PyUnicode_InternFromString(text);
    const char* const kept = name == nullptr ? nullptr : PyUnicode_AsUTF8(name);
    if (kept == nullptr) {
      Py_XDECREF(name);
      return nullptr;
    }
    Py_XDECREF(std::exchange(entry, {text, kept, name}).name);
    return name;
  }

 private:
  struct Entry {
    const char* address = nullptr;
    const char* text = nullptr;  // The name's own.
    PyObject* name = nullptr;
  };
  // Fibonacci hashing to eight bits.
  static constexpr std::uint64_t kSpread = 0x9E3779B97F4A7C15;
  static constexpr int kShift = 64 - 8;

  std::array<Entry, 256> entries_;
} names;

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

}  // namespace

void intern_names() noexcept {
  static bool done = false;
  if (std::exchange(done, true)) return;
  try {
    std::vector<blocking::Slot> slots;  // Never undone: the python plugin stays, and so do we.
    blocking::redirect(blocking::tables_of(reinterpret_cast<const void*>(&uwsgi_response_subhandler_wsgi)),
                       {{"PyDict_SetItemString", reinterpret_cast<void*>(&set_item_string)},
                        {"PyObject_HasAttrString", reinterpret_cast<void*>(&has_attr_string)}},
                       slots);
  } catch (const std::exception&) {
    // Out of memory: names are made each time.
  }
}

}  // namespace engine
