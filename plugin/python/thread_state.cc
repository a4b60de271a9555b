#include "plugin/python/thread_state.h"

#include <limits.h>

#include <cassert>
#include <new>
#include <stdexcept>

#include "plugin/blocking/identity.h"

namespace python {
namespace {

PyThreadState* new_state(const Hub& hub, const suspend::Fiber& fiber) {
  const blocking::BorrowedIdentity identity(fiber);
#if PY_VERSION_HEX >= 0x03090000
  PyThreadState* state = PyThreadState_New(PyThreadState_GetInterpreter(hub.state()));
#else
  PyThreadState* state = PyThreadState_New(hub.state()->interp);
#endif
  if (state == nullptr) throw std::bad_alloc();
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000
  // CPython assumes an OS thread's stack; ours bounds C recursion, at 2600 bytes a level.
  state->c_recursion_remaining = static_cast<int>(fiber.stack().size() / 2600);
#endif
  return state;
}

}  // namespace

PyThreadState* current_state() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return PyThreadState_GetUnchecked();
#else
  return _PyThreadState_UncheckedGet();
#endif
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

void GilStateKey::set(PyThreadState* state) const noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  (void)state;
#else
  pthread_setspecific(key_, state);
#endif
}

Hub::Hub() : state_(PyThreadState_Get()) {
  if (!gil_state_key_.find()) {
    throw std::runtime_error("this Python keeps its thread states where the engine cannot follow");
  }
}

void Hub::attach(PyThreadState* state) const noexcept {
  // The key first: debug builds of CPython compare the two inside the swap.
  gil_state_key_.set(state);
  PyThreadState_Swap(state);
}

void Hub::detach_for(PyThreadState* state) const noexcept {
  PyEval_SaveThread();
  gil_state_key_.set(state);
}

void Hub::take_gil_back() const noexcept {
  gil_state_key_.set(state_);
  PyEval_RestoreThread(state_);
}

ThreadState::ThreadState(const Hub& hub, const suspend::Fiber& fiber)
    : hub_(hub), identity_(fiber), state_(new_state(hub, fiber)) {}

ThreadState::~ThreadState() {
  assert(current_state() == hub_.state());
  PyThreadState_Clear(state_);
  PyThreadState_Delete(state_);
}

bool ThreadState::attached() const noexcept { return current_state() == state_; }

}  // namespace python
