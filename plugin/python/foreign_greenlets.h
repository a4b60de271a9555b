// Greenlets of the greenlet package, which an application may use inside a request.
#pragma once

#include <Python.h>

#include <cstdint>

#include "plugin/python/py_ref.h"

namespace python {

// Says whether a greenlet of the greenlet package runs. The package keeps its current greenlet
// per OS thread and copies slices of the C stack to and fro, so a fiber suspended inside a
// greenlet would have its stack overwritten by the next fiber's greenlets. Its main greenlet,
// which is where code runs that uses none, copies nothing: suspending there is safe.
// The loop's thread only.
class ForeignGreenlets {
 public:
  // REQUIRES: the GIL.
  ForeignGreenlets() noexcept;
  ForeignGreenlets(const ForeignGreenlets&) = delete;
  ForeignGreenlets& operator=(const ForeignGreenlets&) = delete;

  // False while no greenlet can exist, since the package is not loaded. The GIL is not needed.
  bool possible() const noexcept { return get_current_ != nullptr || modules_changed(); }

  // True while code runs in a greenlet that is not the main one. REQUIRES: the GIL.
  bool running() noexcept;

 private:
  bool modules_changed() const noexcept;
  void look_for_package() noexcept;
  void use(PyObject* package);

  PyObject* const modules_;  // sys.modules. Borrowed: it lives as long as the interpreter.
  std::uint64_t seen_modules_ = 0;
  PyObject* (*get_current_)() = nullptr;
  PyRef main_;
};

}  // namespace python
