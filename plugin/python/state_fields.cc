#include "plugin/python/state_fields.h"

#include <frameobject.h>

#include <algorithm>
#include <new>
#include <utility>

#include "plugin/python/py_ref.h"
#include "plugin/python/python_compat.h"

#if PY_VERSION_HEX < 0x03080000 || PY_VERSION_HEX >= 0x030F0000
#error "this plugin is for CPython 3.8 to 3.14"
#endif

#if PY_VERSION_HEX >= 0x030E0000
#if PY_VERSION_HEX < 0x030E0200
#error "CPython 3.14.0 and 3.14.1 cannot be told about a fiber's stack: use 3.14.2 or later"
#endif
// Absent where uWSGI runs 3.14.0 or 3.14.1: to be told of, not to fail as the plugin is loaded.
extern "C" [[gnu::weak]] int PyUnstable_ThreadState_SetStackProtection(PyThreadState*, void*, std::size_t);
// Of the internal functions that CPython's own extension modules use (pycore_interp.h).
extern "C" [[gnu::weak]] int _PyInterpreterState_SetRunningMain(PyInterpreterState*);
extern "C" [[gnu::weak]] void _PyInterpreterState_SetNotRunningMain(PyInterpreterState*);
#endif

namespace python {

bool can_bound_recursion() noexcept {
#if PY_VERSION_HEX >= 0x030E0000
  return PyUnstable_ThreadState_SetStackProtection != nullptr;
#else
  return true;
#endif
}

void bound_recursion(PyThreadState* state, const suspend::Stack& stack) noexcept {
#if PY_VERSION_HEX >= 0x030E0000
  // Before it is first attached, which would take the bounds of the thread's. Fails below 48 KiB.
  if (PyUnstable_ThreadState_SetStackProtection(state, stack.bottom(), stack.size()) < 0) PyErr_Clear();
#elif PY_VERSION_HEX >= 0x030C0000
  // CPython counts calls, whatever the stack. The worst, sorted() with a key that sorts, takes 1320 bytes for
  // each that it counts.
  constexpr std::size_t kBytesOfCall = 1600;
  state->c_recursion_remaining =
      std::min(state->c_recursion_remaining, static_cast<int>(stack.size() / kBytesOfCall));
#else
  (void)state;
  (void)stack;
#endif
}

#if PY_VERSION_HEX >= 0x030E0000
void announce_main_state() noexcept {
  if (_PyInterpreterState_SetRunningMain == nullptr) return;
  if (_PyInterpreterState_SetRunningMain(PyInterpreterState_Get()) < 0) PyErr_Clear();  // It is announced.
}
void withdraw_main_state() noexcept {
  if (_PyInterpreterState_SetNotRunningMain != nullptr)
    _PyInterpreterState_SetNotRunningMain(PyInterpreterState_Get());
}
#else
void announce_main_state() noexcept {}
void withdraw_main_state() noexcept {}
#endif

PyThreadState* new_further_state(const suspend::Stack& stack) {
  PyThreadState* state = PyThreadState_New(PyInterpreterState_Get());
  if (state == nullptr) throw std::bad_alloc();
  bound_recursion(state, stack);
  state->thread_id = 0;
#if PY_VERSION_HEX >= 0x030B0000
  state->native_thread_id = 0;
#endif
  return state;
}

#if PY_VERSION_HEX < 0x030C0000
// Has the eval loop look at the trace functions of `state`, or not.
static void set_traced(PyThreadState* state, bool traced) noexcept {
#if PY_VERSION_HEX >= 0x030A0000
  state->cframe->use_tracing = traced ? 255 : 0;
#else
  state->use_tracing = traced;
#endif
}
#endif

#if PY_VERSION_HEX >= 0x030D0000
// The bit of a state's eval breaker that says of async_exc (pycore_ceval.h).
constexpr std::uintptr_t kAsyncException = 1 << 3;
#endif

void move_thread_data(PyThreadState* from, PyThreadState* to) noexcept {
  std::swap(from->dict, to->dict);
  std::swap(from->thread_id, to->thread_id);
#if PY_VERSION_HEX >= 0x030B0000
  std::swap(from->native_thread_id, to->native_thread_id);
#endif
  std::swap(from->async_exc, to->async_exc);
#if PY_VERSION_HEX >= 0x030D0000
  if (to->async_exc != nullptr) __atomic_fetch_or(&to->eval_breaker, kAsyncException, __ATOMIC_RELAXED);
  // By these two a threading.local finds its values.
  std::swap(from->threading_local_key, to->threading_local_key);
  std::swap(from->threading_local_sentinel, to->threading_local_sentinel);
#endif
#if PY_VERSION_HEX >= 0x030C0000
  // Which events reach them is the interpreter's matter, not a state's.
  std::swap(from->c_tracefunc, to->c_tracefunc);
  std::swap(from->c_traceobj, to->c_traceobj);
  std::swap(from->c_profilefunc, to->c_profilefunc);
  std::swap(from->c_profileobj, to->c_profileobj);
#else
  const bool traced = from->c_tracefunc != nullptr || from->c_profilefunc != nullptr;
  if (!traced && to->c_tracefunc == nullptr && to->c_profilefunc == nullptr) return;
  std::swap(from->c_tracefunc, to->c_tracefunc);
  std::swap(from->c_traceobj, to->c_traceobj);
  std::swap(from->c_profilefunc, to->c_profilefunc);
  std::swap(from->c_profileobj, to->c_profileobj);
  set_traced(from, false);
  set_traced(to, traced && to->tracing == 0);
#endif
}

PyObject* context_of(PyThreadState* state) noexcept { return state->context; }

PyObject* exchange_context(PyThreadState* state, PyObject* context) noexcept {
  ++state->context_ver;
  return std::exchange(state->context, context);
}

PyObject* thread_dict_of(PyThreadState* state) noexcept { return state->dict; }

PyObject* need_thread_dict_of(PyThreadState* state) noexcept {
  if (state->dict == nullptr) state->dict = PyDict_New();
  return state->dict;
}

#if PY_VERSION_HEX >= 0x030B0000
TracingPaused::TracingPaused() noexcept { PyThreadState_EnterTracing(PyThreadState_Get()); }
TracingPaused::~TracingPaused() { PyThreadState_LeaveTracing(PyThreadState_Get()); }
#else
TracingPaused::TracingPaused() noexcept {
  PyThreadState* const state = PyThreadState_Get();
  ++state->tracing;
  set_traced(state, false);
}
TracingPaused::~TracingPaused() {
  PyThreadState* const state = PyThreadState_Get();
  --state->tracing;
  set_traced(state, state->c_tracefunc != nullptr || state->c_profilefunc != nullptr);
}
#endif

bool python_is_finalizing() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

std::uint64_t id_of(PyThreadState* state) noexcept { return state->id; }

}  // namespace python
