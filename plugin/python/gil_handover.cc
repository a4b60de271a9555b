#include "plugin/python/gil_handover.h"

#if PY_VERSION_HEX < 0x030C0000

namespace python {

bool start_gil_handover(const pthread_mutex_t*) noexcept { return false; }
void stop_gil_handover() noexcept {}
bool hands_gil_over() noexcept { return false; }
void detach_keeping_gil() noexcept {}
void attach_with_gil_kept(PyThreadState*) noexcept {}

}  // namespace python

#else

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "plugin/python/gil.h"
#include "suspend/thread_local_block.h"

namespace python {
namespace {

// --- What is written, by version --------------------------------------------------------------

#if PY_VERSION_HEX >= 0x030D0000
// The eval breaker of a state (pycore_ceval.h): whether another thread asks for the GIL; other events; the
// version of the instrumentation, by tracers and profilers, that code must have before it runs.
constexpr std::uintptr_t kDropRequest = 1;
constexpr std::uintptr_t kEvents = 0xff;

// What goes on with the GIL to the next state.
std::uintptr_t take_breaker(PyThreadState* state) noexcept {
  const std::uintptr_t breaker = __atomic_load_n(&state->eval_breaker, __ATOMIC_RELAXED);
  if ((breaker & kDropRequest) == 0) return breaker & ~kEvents;
  return __atomic_fetch_and(&state->eval_breaker, ~kDropRequest, __ATOMIC_RELAXED) &
         ~(kEvents - kDropRequest);
}

// A request left over from an earlier run of the state would have it wait for a thread that has had its turn;
// an old version would have it instrument code again and again.
void set_breaker(PyThreadState* state, std::uintptr_t taken) noexcept {
  std::uintptr_t breaker = __atomic_load_n(&state->eval_breaker, __ATOMIC_RELAXED);
  while ((breaker & ~(kEvents - kDropRequest)) != taken &&
         !__atomic_compare_exchange_n(&state->eval_breaker, &breaker,
                                      (breaker & (kEvents - kDropRequest)) | taken, true, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
  }
}
#else
// One for the interpreter: it stays where it is.
std::uintptr_t take_breaker(PyThreadState*) noexcept { return 0; }
void set_breaker(PyThreadState*, std::uintptr_t) noexcept {}
#endif

void mark(PyThreadState* state, bool attached) noexcept {
  state->_status.active = attached;
#if PY_VERSION_HEX >= 0x030E0000
  state->holds_gil = attached;
#elif PY_VERSION_HEX >= 0x030D0000
  state->_status.holds_gil = attached;
#endif
#if PY_VERSION_HEX >= 0x030D0000
  state->state = attached ? 1 : 0;  // _Py_THREAD_ATTACHED, _Py_THREAD_DETACHED (pycore_pystate.h).
#endif
}

// --- Where it is written ------------------------------------------------------------------------

bool started = false;
PyThreadState** last_holder = nullptr;
suspend::ThreadLocalPlace place_of_current;
std::uintptr_t breaker_taken = 0;

// Each thread's own; a fiber is a thread.
PyThreadState*& current() noexcept {
  thread_local PyThreadState** found = nullptr;
  if (found == nullptr)
    found = static_cast<PyThreadState**>(suspend::address_in_this_thread(place_of_current));
  return *found;
}

void detach(PyThreadState* state) noexcept {
  mark(state, false);
  current() = nullptr;
}

void attach(PyThreadState* state) noexcept {
  current() = state;
  mark(state, true);
  __atomic_store_n(last_holder, state, __ATOMIC_RELAXED);
}

// --- Finding it ---------------------------------------------------------------------------------

// Thread-local data of libpython's is copied to compare it.
constexpr std::size_t kDataMax = 4096;

// The one word of libpython's thread-local data that is changed as the GIL is given up, from the state that
// ran to null.
bool find_current() noexcept {
  const auto block = suspend::thread_local_block_of(reinterpret_cast<const void*>(&PyThreadState_Get));
  if (block.begin == nullptr || block.size > kDataMax) return false;
  std::array<unsigned char, kDataMax> attached, detached;
  PyThreadState* const own = PyThreadState_Get();
  std::memcpy(attached.data(), block.begin, block.size);
  PyEval_SaveThread();
  std::memcpy(detached.data(), block.begin, block.size);
  PyEval_RestoreThread(own);
  int found = 0;
  for (std::size_t at = 0; at + sizeof own <= block.size; at += sizeof own) {
    PyThreadState *before, *after;
    std::memcpy(&before, &attached[at], sizeof before);
    std::memcpy(&after, &detached[at], sizeof after);
    if (before == after) continue;
    if (before != own || after != nullptr) return false;
    place_of_current = {block.module, at};
    ++found;
  }
  return found == 1;
}

// A further state of this thread, to see what changes with it.
class Another {
 public:
  explicit Another(PyThreadState* own) noexcept : own_(own), state_(PyThreadState_New(own->interp)) {}
  ~Another() {
    if (state_ == nullptr) return;
    assert(PyThreadState_Get() == own_);
    PyThreadState_Clear(state_);
    PyThreadState_Delete(state_);
  }
  Another(const Another&) = delete;
  Another& operator=(const Another&) = delete;

  PyThreadState* get() const noexcept { return state_; }

 private:
  PyThreadState* const own_;
  PyThreadState* const state_;
};

// The one word before the GIL's mutex that follows the state which took the GIL last.
bool find_last_holder(const pthread_mutex_t* gil_mutex, PyThreadState* own, PyThreadState* other) noexcept {
  constexpr std::size_t kWords = 24;
  auto* const first = reinterpret_cast<PyThreadState**>(reinterpret_cast<std::uintptr_t>(gil_mutex)) - kWords;
  std::array<bool, kWords> follows;
  for (std::size_t i = 0; i < kWords; ++i) follows[i] = first[i] == own;
  PyThreadState_Swap(other);
  for (std::size_t i = 0; i < kWords; ++i) follows[i] = follows[i] && first[i] == other;
  PyThreadState_Swap(own);
  int found = 0;
  for (std::size_t i = 0; i < kWords; ++i) {
    if (!follows[i] || first[i] != own) continue;
    last_holder = &first[i];
    ++found;
  }
  return found == 1;
}

// --- Testing that it is right ---------------------------------------------------------------------

// Everything of a state that its header shows, except what other threads may write meanwhile.
struct Image {
  unsigned char bytes[sizeof(PyThreadState)];
  explicit Image(const PyThreadState* state) noexcept {
    std::memcpy(bytes, state, sizeof bytes);
    forget(offsetof(PyThreadState, prev), sizeof state->prev);
    forget(offsetof(PyThreadState, next), sizeof state->next);
#if PY_VERSION_HEX >= 0x030D0000
    forget(offsetof(PyThreadState, eval_breaker), sizeof state->eval_breaker);
#endif
  }
  void forget(std::size_t at, std::size_t size) noexcept { std::memset(bytes + at, 0, size); }
  bool operator==(const Image& other) const noexcept {
    return std::memcmp(bytes, other.bytes, sizeof bytes) == 0;
  }
};

// Writes leave a state as CPython's own functions do.
bool writes_equal_functions(PyThreadState* own) noexcept {
  const Image attached(own);
  PyEval_SaveThread();
  const Image detached(own);
  PyEval_RestoreThread(own);
  const bool same_before = Image(own) == attached;
  detach(own);
  const bool same_detached = Image(own) == detached && current_state() == nullptr;
  attach(own);
  return same_before && same_detached && Image(own) == attached && PyThreadState_Get() == own &&
         PyGILState_Check() == 1;
}

}  // namespace

bool hands_gil_over() noexcept { return started; }
void stop_gil_handover() noexcept { started = false; }

bool start_gil_handover(const pthread_mutex_t* gil_mutex) noexcept {
  started = false;
  PyThreadState* const own = PyThreadState_Get();
  const Another other(own);
  started = other.get() != nullptr && find_current() && find_last_holder(gil_mutex, own, other.get()) &&
            writes_equal_functions(own);
  return started;
}

void detach_keeping_gil() noexcept {
  PyThreadState* const state = current();
  assert(started && state != nullptr);
  breaker_taken = take_breaker(state);
  detach(state);
}

void attach_with_gil_kept(PyThreadState* state) noexcept {
  assert(started && state->_status.bound_gilstate);
  attach(state);
  set_breaker(state, breaker_taken);
}

}  // namespace python

#endif
