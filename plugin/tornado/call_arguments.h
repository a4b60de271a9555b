// The arguments of methods that take a callback and arguments for it.
#pragma once

#include "plugin/asyncio/asyncio_names.h"
#include "plugin/python/py_ref.h"

namespace python {

// (first, ..., *args, **kwargs), the first ones also by name. Valid for one call. Throws PyError.
class CallArguments {
 public:
  CallArguments(const char* method, PyObject* args, PyObject* kwargs)
      : method_(method), args_(args), kwargs_(kwargs == nullptr ? PyRef() : py_check(PyDict_Copy(kwargs))) {}

  PyRef take(const char* name) {
    if (next_ < PyTuple_GET_SIZE(args_)) return PyRef::borrow(PyTuple_GET_ITEM(args_, next_++));
    PyRef value = PyRef::borrow(kwargs_ ? PyDict_GetItemString(kwargs_.get(), name) : nullptr);
    if (!value) {
      raise(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", method_, name);
    }
    py_check_status(PyDict_DelItemString(kwargs_.get(), name));
    return value;
  }

  // functools.partial(callback, *args, **kwargs) of the rest.
  PyRef bind(const PyRef& callback) const {
    const PyRef first = py_check(PyTuple_Pack(1, callback.get()));
    const PyRef rest = py_check(PyTuple_GetSlice(args_, next_, PyTuple_GET_SIZE(args_)));
    const PyRef all = py_check(PySequence_Concat(first.get(), rest.get()));
    return py_check(PyObject_Call(asyncio_names().partial, all.get(), kwargs_.get()));
  }
  PyRef bind_callback() { return bind(take("callback")); }

 private:
  const char* const method_;
  PyObject* const args_;
  const PyRef kwargs_;
  Py_ssize_t next_ = 0;
};

inline bool is_timedelta(PyObject* object) {
  return is_instance(object, imported("datetime", "timedelta").get());
}

// The seconds of a datetime.timedelta.
inline double total_seconds(PyObject* timedelta) {
  return as_double(py_check(PyObject_CallMethod(timedelta, "total_seconds", nullptr)).get());
}

}  // namespace python
