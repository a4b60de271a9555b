// Coroutines that are written in C++.
#pragma once

#include <Python.h>

#include "plugin/python/py_ref.h"

namespace python {

// The base of an object that is a coroutine (collections.abc.Coroutine). It does nothing until it is awaited,
// and makes a future only where it has to wait.
struct CoroutineObject {
  // Goes on; null: `future` has been set to an asyncio.Future. Once that is done, its result is this
  // coroutine's, or the coroutine goes on by another step. Throws PyError, which ends the coroutine.
  using Step = PyRef (*)(PyObject* self);
  enum class AfterFuture { kHasItsResult, kGoesOn };
  // Called once, as it ends, in whichever way. It may be dropped without.
  using End = void (*)(PyObject* self) noexcept;

  PyObject_HEAD PyObject* future;
  PyObject* weak_references;
  const char* name;  // Of the function.
  Step step;
  End end;
  AfterFuture after_future;
  bool begun;
  bool over;

  static CoroutineObject& of(PyObject* object) noexcept {
    return *reinterpret_cast<CoroutineObject*>(object);
  }
  // `ends` may be null.
  void begin(const char* function, Step steps, End ends,
             AfterFuture after = AfterFuture::kHasItsResult) noexcept;
};

// Fills a type in whose objects begin with a CoroutineObject: the methods of a coroutine.
void be_coroutine(PyTypeObject& type);
// For its tp_dealloc, first: warns of a coroutine that was never awaited, as Python does, and clears weak
// references.
void coroutine_dies(PyObject* self) noexcept;

}  // namespace python
