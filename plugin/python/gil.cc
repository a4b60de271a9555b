#include "plugin/python/gil.h"

#include <limits.h>

#include "plugin/python/gil_handover.h"

namespace python {

PyThreadState* current_state() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return PyThreadState_GetUnchecked();
#else
  return _PyThreadState_UncheckedGet();
#endif
}

bool holds_gil(const PyThreadState* own) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  if (current_state() != nullptr)
    return true;  // Of this OS thread. An interpreter may have a GIL of its own.
#endif
  const Gil watched = loop_threads_gil.load(std::memory_order_relaxed);
  return watched == Gil::kNotWatched ? current_state() == own : watched == Gil::kHeld;
}

bool GilStateKey::find() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  found_ = true;
#else
  PyThreadState* const own = PyThreadState_Get();
  for (pthread_key_t key = 0; key < PTHREAD_KEYS_MAX && !found_; ++key) {
    if (pthread_getspecific(key) != own) continue;
    // Other keys may hold the same pointer (uWSGI's do): move this one and ask CPython.
    char cookie;
    pthread_setspecific(key, &cookie);
    found_ = static_cast<void*>(PyGILState_GetThisThreadState()) == &cookie;
    pthread_setspecific(key, own);
    if (found_) key_ = key;
  }
#endif
  return found_;
}

void GilStateKey::attach(PyThreadState* state) const noexcept {
#if PY_VERSION_HEX < 0x030C0000
  // The key first: debug builds of CPython compare the two inside the swap.
  pthread_setspecific(key_, state);
#endif
  swap_states(state);
}

#if PY_VERSION_HEX < 0x030C0000
PyThreadState* swap_states(PyThreadState* state) noexcept { return PyThreadState_Swap(state); }
bool changes_states() noexcept { return false; }
void leave_gil() noexcept {}
void take_gil(PyThreadState* state) noexcept { PyThreadState_Swap(state); }
#else
// The thread's own, of which a fiber is one.
static thread_local bool changing = false;

PyThreadState* swap_states(PyThreadState* state) noexcept {
  changing = true;
  PyThreadState* const before = PyThreadState_Swap(state);
  changing = false;
  return before;
}

bool changes_states() noexcept { return changing; }

void leave_gil() noexcept {
  if (hands_gil_over()) detach_keeping_gil();
  else PyEval_SaveThread();
}
void take_gil(PyThreadState* state) noexcept {
  if (hands_gil_over()) {
    attach_with_gil_kept(state);
    return;
  }
  changing = true;
  PyEval_RestoreThread(state);
  changing = false;
}
#endif

}  // namespace python
