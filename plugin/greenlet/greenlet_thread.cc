// Which greenlets belong to the Python thread that runs, and their end with it.
#include <cstdint>
#include <cstdio>
#include <utility>

#include "plugin/blocking/gate.h"
#include "plugin/greenlet/greenlet.h"
#include "plugin/python/state_fields.h"
#include "plugin/python/static_type.h"
#include "plugin/python/thread_state.h"

namespace python {
namespace {

// How often one that catches GreenletExit and goes on is told again as its thread ends.
constexpr int kKillsMax = 5;

// The thread that ran last, because asking the thread's dict costs more than a switch.
struct {
  const PyThreadState* state = nullptr;
  std::uint64_t id = 0;
  unsigned generation = 0;
  GreenletThread* thread = nullptr;
} last_seen;

bool ran_last(PyThreadState* state) noexcept {
  return last_seen.state == state && last_seen.id == id_of(state) &&
         last_seen.generation == GreenletStack::generation();
}

// What the dict of a Python thread has, to see its end.
struct EndOfThread {
  PyObject_HEAD GreenletThread* thread;
};

void end_of_thread_dealloc(PyObject* self) noexcept {
  GreenletThread* const thread = reinterpret_cast<EndOfThread*>(self)->thread;
  if (thread != nullptr) {
    thread->end();
    thread->let_go();
  }
  PyObject_Free(self);
}

PyTypeObject* end_of_thread_type() {
  return static_type<EndOfThread>("greenlet._EndOfThread",
                                  [](PyTypeObject& t) { t.tp_dealloc = end_of_thread_dealloc; });
}

PyObject* dict_key() noexcept {
  static PyObject* const key = PyUnicode_InternFromString("uwsgi_tornado.greenlets");
  return key;
}

GreenletThread* thread_in(PyObject* dict) noexcept {
  PyObject* const item = dict == nullptr ? nullptr : PyDict_GetItemWithError(dict, dict_key());
  return item == nullptr ? nullptr : reinterpret_cast<EndOfThread*>(item)->thread;
}

}  // namespace

// --- Which thread -----------------------------------------------------------------------------

GreenletThread* GreenletThread::current_or_null() noexcept {
  PyThreadState* const state = PyThreadState_Get();
  if (ran_last(state)) return last_seen.thread;
  const ErrorAside error;
  return thread_in(thread_dict_of(state));
}

GreenletThread& GreenletThread::current() {
  PyThreadState* const state = PyThreadState_Get();
  if (ran_last(state)) return last_seen.thread->without_deferred();
  return look_up(state).without_deferred();
}

GreenletThread& GreenletThread::look_up(PyThreadState* state) {
  const ErrorAside error;
  PyObject* const dict = PyThreadState_GetDict();
  if (dict == nullptr) throw std::bad_alloc();
  GreenletThread* thread = thread_in(dict);
  if (thread == nullptr) thread = &make(dict, state, VirtualThread::current());
  thread->note_fork();
  thread->note_running(state);
  return *thread;
}

void GreenletThread::note_running(PyThreadState* state) noexcept {
  last_seen = {state, id_of(state), generation_, this};
}

// After a fork: of its greenlets the one that runs is here, the others are not.
// REQUIRES: the thread itself is here.
void GreenletThread::note_fork() noexcept {
  generation_ = GreenletStack::generation();
  running_->generation = generation_;
}

GreenletThread& GreenletThread::make(PyObject* dict, PyThreadState* state, VirtualThread* fiber) {
  PyRef parent;
  if (fiber != nullptr) parent = PyRef::borrow(as_object(of_loop().main_));
  PyRef main = py_check(PyType_GenericAlloc(greenlet_type(), 0));
  PyRef end = py_check(reinterpret_cast<PyObject*>(PyObject_New(EndOfThread, end_of_thread_type())));
  reinterpret_cast<EndOfThread*>(end.get())->thread = nullptr;
  auto* const thread = new GreenletThread(fiber);
  reinterpret_cast<EndOfThread*>(end.get())->thread = thread;
  thread->keep();
  auto* const greenlet = reinterpret_cast<Greenlet*>(main.get());
  greenlet->parent = reinterpret_cast<Greenlet*>(parent.release());
  greenlet->thread = thread;
  thread->keep();
  greenlet->phase = Greenlet::Phase::kActive;
  greenlet->is_main = true;
  greenlet->generation = thread->generation_ = GreenletStack::generation();
  greenlet->coroutine = &thread->main_coroutine_;
  greenlet->state = state;
  thread->main_state_ = state;
  thread->running_ = reinterpret_cast<Greenlet*>(PyRef(main).release());
  thread->main_ = reinterpret_cast<Greenlet*>(main.release());
  py_check_status(PyDict_SetItem(dict, dict_key(), end.get()));
  if (fiber != nullptr) fiber->set_greenlets(thread);
  return *thread;
}

// Asked in a request. The loop's own state has a dict once its main greenlet was asked for.
GreenletThread& GreenletThread::of_loop() {
  PyThreadState* const state = Hub::instance()->state();
  PyObject* const dict = need_thread_dict_of(state);
  if (dict == nullptr) throw std::bad_alloc();
  GreenletThread* const known = thread_in(dict);
  if (known == nullptr) return make(dict, state, nullptr);
  if (blocking::on_loop_thread()) known->note_fork();
  return *known;
}

GreenletThread* GreenletThread::owner_of(const Greenlet* greenlet) noexcept {
  while (greenlet != nullptr && greenlet->thread == nullptr) greenlet = greenlet->parent;
  return greenlet == nullptr ? nullptr : greenlet->thread;
}

void GreenletThread::let_go() noexcept {
  if (--users_ > 0) return;
  if (!lost_) delete this;
}

GreenletThread::~GreenletThread() {
  if (last_seen.thread == this) last_seen = {};
  --count_;
}

void GreenletThread::set_trace_function(PyRef function) noexcept {
  const auto before = PyRef::steal(std::exchange(trace_function_, nullptr));
  if (function.get() != Py_None) trace_function_ = function.release();
}

// --- The end -------------------------------------------------------------------------------------

void GreenletThread::kill(Greenlet* greenlet) noexcept {
  PyRef parent = PyRef::borrow(as_object(running_));
  const PyRef kept = PyRef::borrow(as_object(greenlet));
  Greenlet* const before = std::exchange(greenlet->parent, reinterpret_cast<Greenlet*>(parent.release()));
  PyErr_SetString(greenlet_exit(), "Killing the greenlet because all references have vanished.");
  try {
    go_inside(greenlet);
  } catch (const PyError&) {
    PyErr_WriteUnraisable(as_object(greenlet));
  } catch (const std::bad_alloc&) {
  }
  const auto stood_in = PyRef::steal(as_object(std::exchange(greenlet->parent, before)));
}

void GreenletThread::kill_later(Greenlet* greenlet) {
  to_kill_.push_back(PyRef::borrow(as_object(greenlet)).release());
}

void GreenletThread::kill_deferred() noexcept {
  const ErrorAside error;
  while (!to_kill_.empty()) {
    const auto greenlet = PyRef::steal(to_kill_.back());
    to_kill_.pop_back();
    auto* const bare = reinterpret_cast<Greenlet*>(greenlet.get());
    if (bare->active() && bare != running_) kill(bare);
  }
}

void GreenletThread::end() noexcept {
  if (!alive_) return;
  const ErrorAside error;
  // Not so where CPython clears the states of threads that have gone, or after a fork.
  const bool runs_here =
      running_ == main_ && !main_->lost() && PyThreadState_Get() == main_state_ && !python_is_finalizing();
  if (runs_here) {
    note_running(main_state_);
    for (int round = 0; round < kKillsMax && first_active_ != nullptr; ++round) {
      kill_deferred();
      std::vector<PyRef> active;
      for (Greenlet* g = first_active_; g != nullptr; g = g->next)
        active.push_back(PyRef::borrow(as_object(g)));
      for (const PyRef& greenlet : active) {
        auto* const bare = reinterpret_cast<Greenlet*>(greenlet.get());
        if (bare->active()) kill(bare);
      }
    }
    if (first_active_ != nullptr) {
      std::fprintf(stderr,
                   "greenlet: GreenletExit did not end all greenlets of a thread; their stacks are lost\n");
    }
  }
  lost_ = !runs_here;
  alive_ = false;
  if (fiber_ != nullptr) fiber_->set_greenlets(nullptr);
  if (last_seen.thread == this) last_seen = {};
  for (Greenlet* g = first_active_; g != nullptr; g = g->next) Py_INCREF(g);  // Its frames live on.
  Py_CLEAR(trace_function_);
  for (PyObject* greenlet : std::exchange(to_kill_, {})) Py_DECREF(greenlet);
  main_->phase = Greenlet::Phase::kDead;
  keep();
  const auto running = PyRef::steal(as_object(std::exchange(running_, nullptr)));
  const auto main = PyRef::steal(as_object(std::exchange(main_, nullptr)));
  --users_;
}

void end_greenlets_of(VirtualThread& thread) noexcept {
  GreenletThread* const greenlets = thread.greenlets();
  if (greenlets == nullptr) return;
  greenlets->end();
  if (PyDict_DelItem(PyThreadState_GetDict(), dict_key()) < 0) PyErr_Clear();
}

void end_greenlets_of_loop() noexcept {
  GreenletThread* const greenlets = thread_in(thread_dict_of(PyThreadState_Get()));
  if (greenlets != nullptr) {
    greenlets->end();
    if (PyDict_DelItem(PyThreadState_GetDict(), dict_key()) < 0) PyErr_Clear();
  }
  GreenletStack::end_idle();
}

}  // namespace python
