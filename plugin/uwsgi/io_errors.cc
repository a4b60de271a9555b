#include "plugin/uwsgi/io_errors.h"

#include <Python.h>

#include <cstdarg>
#include <exception>
#include <utility>
#include <vector>

#include "plugin/blocking/got.h"
#include "plugin/python/virtual_thread.h"

extern "C" int uwsgi_response_subhandler_wsgi(struct wsgi_request*) __attribute__((weak));

namespace engine {
namespace {

// True, the exception set, when that is what an OSError means here.
bool raised_instead(PyObject* type) noexcept {
  if (type != PyExc_OSError) return false;
  python::VirtualThread* const thread = python::interrupted_thread();
  if (thread == nullptr) return false;
  thread->task().interruption().raise();
  return true;
}

// Neither may call the function that it replaces: in a single binary that would be itself.
void set_string(PyObject* type, const char* text) noexcept {
  if (raised_instead(type)) return;
  PyObject* const value = PyUnicode_FromString(text);
  if (value == nullptr) return;
  PyErr_SetObject(type, value);
  Py_DECREF(value);
}

PyObject* format(PyObject* type, const char* text, ...) noexcept {
  if (raised_instead(type)) return nullptr;
  va_list values;
  va_start(values, text);
  PyErr_FormatV(type, text, values);
  va_end(values);
  return nullptr;
}

}  // namespace

void turn_io_errors_into_interruptions() noexcept {
  static bool done = false;
  if (std::exchange(done, true)) return;
  try {
    std::vector<blocking::Slot> slots;  // Never undone: the python plugin stays, and so do we.
    blocking::redirect(blocking::tables_of(reinterpret_cast<const void*>(&uwsgi_response_subhandler_wsgi)),
                       {{"PyErr_SetString", reinterpret_cast<void*>(&set_string)},
                        {"PyErr_Format", reinterpret_cast<void*>(&format)}},
                       slots);
  } catch (const std::exception&) {
    // Out of memory: it raises its usual exception.
  }
}

}  // namespace engine
