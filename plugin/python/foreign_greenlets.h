// Greenlets of the greenlet package, which an application may use inside a request.
#pragma once

#include <Python.h>

#include <cstdint>
#include <cstring>

#include "plugin/python/py_ref.h"

namespace python {

// The package keeps its current greenlet per OS thread and copies slices of the C stack to and
// fro, so a greenlet of one fiber that is switched to, or collected, in another would overwrite
// the stack of the first. Since 2.0 it keeps what it knows of a thread in a thread_local of its
// own: that is exchanged with each switch, so to the package, too, every fiber is a thread, and
// it refuses such switches and puts such ends off itself. Earlier versions ask the thread state.
// Where it cannot be exchanged, running() says where a fiber must not be suspended.
// The loop's thread only.
class ForeignGreenlets {
 public:
  // REQUIRES: the GIL.
  ForeignGreenlets() noexcept;
  ForeignGreenlets(const ForeignGreenlets&) = delete;
  ForeignGreenlets& operator=(const ForeignGreenlets&) = delete;

  // False while no greenlet can exist, since the package is not loaded. The GIL is not needed.
  bool possible() const noexcept { return get_current_ != nullptr || modules_changed(); }

  // True while code runs in a greenlet that is not the main one, and suspended there its stack
  // would not survive. REQUIRES: the GIL.
  bool running() noexcept;

  // What the package keeps of one stack while that does not run.
  struct OfStack {
    alignas(16) char bytes[64] = {};
  };
  // Round each switch: `mine` runs from now on, then no more.
  void enter(const OfStack& mine) noexcept {
    if (block_ == nullptr) return;
    std::memcpy(of_loop_.bytes, block_, block_size_);
    std::memcpy(block_, mine.bytes, block_size_);
  }
  void leave(OfStack& mine) noexcept {
    if (block_ == nullptr) return;
    std::memcpy(mine.bytes, block_, block_size_);
    std::memcpy(block_, of_loop_.bytes, block_size_);
  }

 private:
  bool modules_changed() const noexcept;
  void look_for_package() noexcept;
  void use(PyObject* package);

  PyObject* const modules_;  // sys.modules. Borrowed: it lives as long as the interpreter.
  std::uint64_t seen_modules_ = 0;
  PyObject* (*get_current_)() = nullptr;
  PyRef main_;
  void* block_ = nullptr;  // The package's thread_local data, once found.
  std::size_t block_size_ = 0;
  OfStack of_loop_;
};

}  // namespace python
