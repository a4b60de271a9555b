// Owned references to Python objects, and conversion between C++ exceptions and Python errors.
#pragma once

#include <Python.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace python {

#ifdef UWSGI_TORNADO_DEBUG
// How many references PyRefs hold, for leak checks.
inline long live_references = 0;
inline void count_references(int more) noexcept { live_references += more; }
inline void check_gil() noexcept { assert(PyGILState_Check()); }
#else
inline void count_references(int) noexcept {}
inline void check_gil() noexcept {}  // CPython's answer costs more than the reference.
#endif

// An owned reference to a Python object, or nothing.
// Copying, assigning and destroying one requires the GIL.
class PyRef {
 public:
  PyRef() noexcept = default;
  static PyRef steal(PyObject* object) noexcept { return PyRef(object); }
  static PyRef borrow(PyObject* object) noexcept {
    Py_XINCREF(object);
    return PyRef(object);
  }
  PyRef(const PyRef& other) noexcept : PyRef(borrow(other.object_)) {}
  PyRef(PyRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  PyRef& operator=(PyRef other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~PyRef() {
    if (object_ == nullptr) return;
    check_gil();
    count_references(-1);
    Py_DECREF(object_);
  }
  PyObject* get() const noexcept { return object_; }
  [[nodiscard]] PyObject* release() noexcept {
    if (object_ != nullptr) count_references(-1);
    return std::exchange(object_, nullptr);
  }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  explicit PyRef(PyObject* object) noexcept : object_(object) {
    if (object_ != nullptr) count_references(1);
  }
  PyObject* object_ = nullptr;
};

// Thrown while Python's error indicator is set; the indicator is the message.
struct PyError {};

// Owns the result of a C API call. Throws PyError if it is null, which means that an error is set.
inline PyRef py_check(PyObject* result) {
  if (result == nullptr) throw PyError{};
  return PyRef::steal(result);
}

// Throws PyError if the status of a C API call is negative, which means that an error is set.
inline void py_check_status(int status) {
  if (status < 0) throw PyError{};
}

[[noreturn]] inline void raise(PyObject* type, const char* text) {
  PyErr_SetString(type, text);
  throw PyError{};
}
// Raises with a format and at least one argument of PyErr_Format().
template <typename... Arguments>
[[noreturn]] void raise(PyObject* type, const char* format, Arguments... arguments) {
  PyErr_Format(type, format, arguments...);
  throw PyError{};
}
// Raises OSError, or its subclass for this number.
[[noreturn]] inline void raise_errno(int error) {
  errno = error;
  PyErr_SetFromErrno(PyExc_OSError);
  throw PyError{};
}

// A Python error that has been set aside, or none.
class ErrorState {
 public:
  // Takes the pending error, if any, and drops the one held before.
  void fetch() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    exception_ = PyRef::steal(PyErr_GetRaisedException());
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    type_ = PyRef::steal(type);
    exception_ = PyRef::steal(value);
    traceback_ = PyRef::steal(traceback);
#endif
  }
  // Makes the held error pending again. Without one it does nothing.
  void restore() noexcept {
    if (!*this) return;
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception_.release());
#else
    PyErr_Restore(type_.release(), exception_.release(), traceback_.release());
#endif
  }
  // Returns the held error as an exception with its traceback, or null, and holds none afterwards.
  PyRef take() noexcept {
#if PY_VERSION_HEX < 0x030C0000
    PyObject *type = type_.release(), *value = exception_.release(), *traceback = traceback_.release();
    PyErr_NormalizeException(&type, &value, &traceback);
    const PyRef owned_type = PyRef::steal(type), owned_traceback = PyRef::steal(traceback);
    exception_ = PyRef::steal(value);
    if (exception_ && owned_traceback) PyException_SetTraceback(exception_.get(), owned_traceback.get());
#endif
    return std::move(exception_);
  }
#if PY_VERSION_HEX >= 0x030C0000
  explicit operator bool() const noexcept { return static_cast<bool>(exception_); }
#else
  explicit operator bool() const noexcept { return static_cast<bool>(type_); }
#endif

 private:
#if PY_VERSION_HEX < 0x030C0000
  PyRef type_;
  PyRef traceback_;
#endif
  PyRef exception_;
};

// Clears the pending error and returns it as an exception with its traceback.
inline PyRef take_exception() noexcept {
  ErrorState error;
  error.fetch();
  return error.take();
}

// Sets the pending Python error aside for its scope. The destructor restores it, in place of any error raised
// meanwhile.
class ErrorAside {
 public:
  ErrorAside() noexcept { error_.fetch(); }
  ~ErrorAside() {
    PyErr_Clear();
    error_.restore();
  }
  ErrorAside(const ErrorAside&) = delete;
  ErrorAside& operator=(const ErrorAside&) = delete;

 private:
  ErrorState error_;
};

inline PyRef none() noexcept { return PyRef::borrow(Py_None); }
inline PyRef boolean(bool value) noexcept { return PyRef::borrow(value ? Py_True : Py_False); }

inline bool is_true(const PyRef& object) {
  const int truth = PyObject_IsTrue(object.get());
  py_check_status(truth);
  return truth == 1;
}

inline bool is_instance(PyObject* object, PyObject* type) {
  const int is = PyObject_IsInstance(object, type);
  py_check_status(is);
  return is == 1;
}

// The float of a number. Throws PyError.
inline double as_double(PyObject* number) {
  // PyFloat_AsDouble() turns an int into a float.
  const double value = PyLong_CheckExact(number) ? PyLong_AsDouble(number) : PyFloat_AsDouble(number);
  if (value == -1 && PyErr_Occurred()) throw PyError{};
  return value;
}

// `text` as UTF-8, valid as long as the object; "?" if it has none, as a lone surrogate. No error stays set.
inline std::string_view text_of(PyObject* text) noexcept {
  Py_ssize_t size = 0;
  const char* const bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr) PyErr_Clear();
  return bytes == nullptr ? "?" : std::string_view(bytes, static_cast<std::size_t>(size));
}

// object.method(argument); no argument if that is null. `method` is an interned string: CPython's cache of
// methods would keep each new one, and not find the last.
inline PyRef call_method(PyObject* object, PyObject* method, PyObject* argument = nullptr) {
#if PY_VERSION_HEX >= 0x03090000  // Cheaper than the general call.
  PyObject* const given[] = {object, argument};
  return py_check(PyObject_VectorcallMethod(method, given, argument == nullptr ? 1 : 2, nullptr));
#else
  return py_check(PyObject_CallMethodObjArgs(object, method, argument, nullptr));
#endif
}

// function(*args, name=value)
inline PyRef call_with_option(PyObject* function, const PyRef& args, const char* name, PyObject* value) {
  const PyRef option = py_check(Py_BuildValue("{s:O}", name, value));
  return py_check(PyObject_Call(function, args.get(), option.get()));
}

// from module import name
inline PyRef imported(const char* module, const char* name) {
  return py_check(PyObject_GetAttrString(py_check(PyImport_ImportModule(module)).get(), name));
}

// PyArg_ParseTupleAndKeywords(). Throws PyError.
template <std::size_t Count, typename... Values>
void parse_arguments(PyObject* args, PyObject* kwargs, const char* format, const char* const (&names)[Count],
                     Values*... values) {
  const char* ended[Count + 1] = {};
  std::copy_n(names, Count, ended);
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, const_cast<char**>(ended), values...))
    throw PyError{};
}

// Casts a function for a method table; its flags (METH_KEYWORDS and others) tell CPython its signature.
template <typename Function>
PyCFunction as_method(Function* function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// PyObject_Vectorcall(), which has another name in 3.8.
inline PyObject* vectorcall(PyObject* callable, PyObject* const* args, std::size_t count,
                            PyObject* names) noexcept {
#if PY_VERSION_HEX >= 0x03090000
  return PyObject_Vectorcall(callable, args, count, names);
#else
  return _PyObject_Vectorcall(callable, args, count, names);
#endif
}

// Runs `body` for CPython. Its exceptions become Python errors, its result a new reference, and no
// result becomes None. There is no catch (...): any other exception is a bug, and noexcept ends the
// process here instead of unwinding through the interpreter.
template <typename Body>
PyObject* py_boundary(Body body) noexcept {
  try {
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      return none().release();
    } else {
      return body().release();
    }
  } catch (const PyError&) {
    assert(PyErr_Occurred());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace python
