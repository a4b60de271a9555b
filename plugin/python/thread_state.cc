#include "plugin/python/thread_state.h"

#include <limits.h>

#include <cassert>
#include <new>
#include <utility>

#include "plugin/python/python_compat.h"

#if PY_VERSION_HEX < 0x03080000 || PY_VERSION_HEX >= 0x030E0000
// 3.14 measures each stack from the OS thread's and ends the process on a fiber's, until told of it by
// PyUnstable_ThreadState_SetStackProtection() (3.14.2); nothing here has been run with it.
#error "this plugin is for CPython 3.8 to 3.13"
#endif

namespace python {
namespace {

void bound_recursion(PyThreadState* state, std::size_t stack_size) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  // CPython assumes an OS thread's stack; ours bounds C recursion, at 2600 bytes a level.
  state->c_recursion_remaining = static_cast<int>(stack_size / 2600);
#else
  (void)state;
  (void)stack_size;
#endif
}

PyThreadState* new_state(const Hub& hub, const suspend::Fiber& fiber) {
  // CPython notes for good which thread made a state.
  const suspend::AsFiber thread(fiber);
  PyThreadState* state = PyThreadState_New(PyThreadState_GetInterpreter(hub.state()));
  if (state == nullptr) throw std::bad_alloc();
  bound_recursion(state, fiber.stack().size());
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
  PyThreadState_Swap(state);
}

#if PY_VERSION_HEX < 0x030C0000
void leave_gil() noexcept {}
void take_gil(PyThreadState* state) noexcept { PyThreadState_Swap(state); }
#else
void leave_gil() noexcept { PyEval_SaveThread(); }
void take_gil(PyThreadState* state) noexcept { PyEval_RestoreThread(state); }
#endif

ThreadState::ThreadState(const Hub& hub, suspend::Fiber& fiber)
    : hub_(hub), fiber_(fiber), identity_(fiber), state_(new_state(hub, fiber)), running_(state_) {}

ThreadState::~ThreadState() {
  assert(current_state() == hub_.state());
  PyThreadState_Clear(state_);
  const suspend::AsFiber thread(fiber_);  // Whose note of its state is taken out with it.
  PyThreadState_Delete(state_);
}

bool ThreadState::attached() const noexcept { return holds_gil(running_); }

// --- Further states of one Python thread ------------------------------------------------------

PyThreadState* new_state_of_this_thread(std::size_t stack_size) {
  PyThreadState* state = PyThreadState_New(PyInterpreterState_Get());
  if (state == nullptr) throw std::bad_alloc();
  bound_recursion(state, stack_size);
  return state;
}

void adopt_state(PyThreadState* state) noexcept {
  const PyThreadState* const mine = PyThreadState_Get();
  state->thread_id = mine->thread_id;
#if PY_VERSION_HEX >= 0x030B0000
  state->native_thread_id = mine->native_thread_id;
#endif
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

void move_thread_data(PyThreadState* from, PyThreadState* to) noexcept {
  std::swap(from->dict, to->dict);
#if PY_VERSION_HEX < 0x030C0000
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
