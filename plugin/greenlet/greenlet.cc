#include "plugin/greenlet/greenlet.h"

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "plugin/blocking/gate.h"
#include "plugin/greenlet/asyncio_of_thread.h"
#include "plugin/python/state_fields.h"
#include "plugin/python/thread_state.h"
#include "suspend/baton.h"

namespace python {
namespace {

// Finds CPython's key anew in each process: a fork makes another.
const GilStateKey& gil_state_key() noexcept {
  static GilStateKey key;
  static unsigned found_in = ~0u;
  if (found_in != GreenletStack::generation()) {
    key = GilStateKey();
    if (!key.find())
      Py_FatalError("greenlet: this Python keeps its thread states where greenlets cannot follow");
    found_in = GreenletStack::generation();
  }
  return key;
}

PyRef take(PyObject** field) noexcept { return PyRef::steal(std::exchange(*field, nullptr)); }

void drop_arguments(Greenlet* greenlet) noexcept {
  Py_CLEAR(greenlet->args);
  Py_CLEAR(greenlet->kwargs);
}

void pass_arguments(Greenlet* from, Greenlet* to) noexcept {
  PyRef args = take(&from->args);
  PyRef kwargs = take(&from->kwargs);
  drop_arguments(to);
  to->args = args.release();
  to->kwargs = kwargs.release();
}

bool on_loop() noexcept { return blocking::on_loop_thread() && VirtualThread::current() == nullptr; }

}  // namespace

PyRef switch_result(PyRef args, PyRef kwargs) {
  const bool has_keywords = kwargs && PyDict_Size(kwargs.get()) > 0;
  if (has_keywords && PyTuple_GET_SIZE(args.get()) > 0)
    return py_check(PyTuple_Pack(2, args.get(), kwargs.get()));
  if (has_keywords) return kwargs;
  if (!args) return none();
  if (PyTuple_Check(args.get()) && PyTuple_GET_SIZE(args.get()) == 1) {
    return PyRef::borrow(PyTuple_GET_ITEM(args.get(), 0));
  }
  return args;
}

// --- Switching --------------------------------------------------------------------------------

void GreenletThread::check_may_go(const Greenlet* target) const {
  const GreenletThread* const owner = owner_of(target);
  if (owner == nullptr) raise(greenlet_error(), "cannot switch to a garbage collected greenlet");
  if (!owner->alive_)
    raise(greenlet_error(), "cannot switch to a different thread (which happens to have exited)");
  if (owner != this) raise(greenlet_error(), "cannot switch to a different thread");
}

PyRef GreenletThread::go(Greenlet* target) {
  GreenletThread* const owner = owner_of(target);
  if (owner == this && alive_) return go_inside(target);
  try {
    if (owner != nullptr && owner->alive_ && blocking::on_loop_thread() && !target->lost()) {
      const bool is_loops = fiber_ != nullptr && (target == owner->main_ || target == owner->running_);
      if (is_loops && owner->fiber_ == nullptr && owner == owner_of(main_->parent)) return go_to_loop(target);
      if (owner->fiber_ != nullptr && (fiber_ != nullptr || on_loop())) return wake(*owner, target);
    }
    // A request that has ended passes the values it gets to its parent, as all dead greenlets do.
    if (owner != nullptr && !owner->alive_ && target->is_main && target->parent != nullptr &&
        owner_of(target->parent) == this) {
      if (PyErr_Occurred()) throw PyError{};
      return switch_result(take(&target->args), take(&target->kwargs));
    }
    PyErr_Clear();
    check_may_go(target);
  } catch (const PyError&) {
    drop_arguments(target);
    throw;
  }
  return PyRef();  // Not reached: the check refuses all that is left.
}

// `target` is of this thread.
PyRef GreenletThread::go_inside(Greenlet* target) {
  Greenlet* const me = running_;
  Greenlet* next;
  try {
    next = resolve(target);
  } catch (const PyError&) {
    drop_arguments(target);
    throw;
  }
  if (next == me) {
    origin_ = reinterpret_cast<Greenlet*>(PyRef::borrow(as_object(me)).release());
    return arrived(me);
  }
  enter(next);
  me->coroutine->switch_to(*next->coroutine);
  return arrived(me);
}

// The first that can run, from `first` towards the main greenlet, with its arguments; one that
// has not begun is started. Borrowed. Throws PyError.
Greenlet* GreenletThread::resolve(Greenlet* first) {
  Greenlet* target = first;
  while (target != nullptr) {
    if (target->lost())
      raise(greenlet_error(), "cannot switch to a greenlet that a fork left in the parent process");
    if (target->phase == Greenlet::Phase::kActive) return target;
    if (target->phase == Greenlet::Phase::kNew) {
      if (start(target)) return target;
      continue;
    }
    if (target->parent != nullptr) pass_arguments(target, target->parent);
    target = target->parent;
  }
  raise(greenlet_error(), "cannot switch to a garbage collected greenlet");
}

// False if another greenlet has started it meanwhile, because getting `run` may run any code.
bool GreenletThread::start(Greenlet* greenlet) {
  static PyObject* const run_name = PyUnicode_InternFromString("run");
  PyRef args = take(&greenlet->args);
  PyRef kwargs = take(&greenlet->kwargs);
  ErrorState thrown;
  thrown.fetch();
  PyRef run = py_check(PyObject_GetAttr(as_object(greenlet), run_name));
  thrown.restore();
  check_may_go(greenlet);
  if (greenlet->phase == Greenlet::Phase::kNew) {
    greenlet->stack = GreenletStack::take();
    greenlet->coroutine = &greenlet->stack->coroutine();
    greenlet->state = greenlet->stack->state();
    greenlet->entry = run.release();
    static_cast<void>(exchange_context(greenlet->state, std::exchange(greenlet->context, nullptr)));
    greenlet->coroutine->prepare(&GreenletThread::run, greenlet);
    take_in(greenlet);
    greenlet->args = args.release();
    greenlet->kwargs = kwargs.release();
    return true;
  }
  drop_arguments(greenlet);
  greenlet->args = args.release();
  greenlet->kwargs = kwargs.release();
  return false;
}

void GreenletThread::take_in(Greenlet* greenlet) noexcept {
  greenlet->phase = Greenlet::Phase::kActive;
  greenlet->generation = generation_;
  greenlet->thread = this;
  keep();
  greenlet->previous = nullptr;
  greenlet->next = first_active_;
  if (first_active_ != nullptr) first_active_->previous = greenlet;
  first_active_ = greenlet;
}

void GreenletThread::leave_out(Greenlet* greenlet) noexcept {
  if (greenlet->next != nullptr) greenlet->next->previous = greenlet->previous;
  if (greenlet->previous != nullptr) greenlet->previous->next = greenlet->next;
  else if (first_active_ == greenlet) first_active_ = greenlet->next;
  greenlet->next = greenlet->previous = nullptr;
}

// Makes `greenlet` the one that runs, in all but the stack; a pending exception goes along.
void GreenletThread::enter(Greenlet* greenlet) noexcept {
  PyThreadState* const from = PyThreadState_Get();
  PyThreadState* const to = greenlet->state;
  ErrorState thrown;
  if (PyErr_Occurred() != nullptr) thrown.fetch();
  running_->state = from;
  AsyncioOfThread asyncio;
  move_thread_data(from, to);
  gil_state_key().attach(to);
  asyncio.give();
  if (fiber_ != nullptr) fiber_->thread_state().set_current_state(to);
  else if (blocking::on_loop_thread()) Hub::instance()->set_current_state(to);
  note_running(to);
  thrown.restore();
  origin_ = running_;
  Py_INCREF(greenlet);
  running_ = greenlet;
}

// On the stack of `me`, which runs again: returns the values it was given, or throws the exception.
PyRef GreenletThread::arrived(Greenlet* me) {
  if (finished_ != nullptr) GreenletStack::give_back(std::exchange(finished_, nullptr));
  auto* const origin = std::exchange(origin_, nullptr);
  const auto kept = PyRef::steal(as_object(origin));
  if (trace_function_ != nullptr) {
    try {
      trace(me->args != nullptr ? "switch" : "throw", origin, me);
    } catch (const PyError&) {
      drop_arguments(me);
      throw;
    }
  }
  if (PyErr_Occurred()) {
    drop_arguments(me);
    throw PyError{};
  }
  return switch_result(take(&me->args), take(&me->kwargs));
}

void GreenletThread::trace(const char* event, Greenlet* origin, Greenlet* target) {
  ErrorState thrown;
  thrown.fetch();
  const PyRef function = PyRef::borrow(trace_function_);
  PyRef result;
  {
    const TracingPaused paused;
    result = PyRef::steal(PyObject_CallFunction(function.get(), "s(OO)", event, origin, target));
  }
  if (result) {
    thrown.restore();
    return;
  }
  // It is removed, and its exception is thrown in place of what was.
  const ErrorAside own;
  set_trace_function(none());
  throw PyError{};
}

// --- The life of a greenlet, on its own stack ---------------------------------------------------

suspend::Coroutine& GreenletThread::run(void* greenlet) noexcept {
  auto* const self = static_cast<Greenlet*>(greenlet);
  GreenletThread& thread = *self->thread;
  thread.begin(self);
  // What it returned was left in its entry, what it raised is pending.
  return thread.finish(self, take(&self->entry));
}

// Leaves the result in `entry`, null with an exception pending.
void GreenletThread::begin(Greenlet* self) noexcept {
  if (finished_ != nullptr) GreenletStack::give_back(std::exchange(finished_, nullptr));
  const PyRef entry = take(&self->entry);
  Py_CLEAR(self->run);
  PyRef args = take(&self->args);
  PyRef kwargs = take(&self->kwargs);
  {
    auto* const origin = std::exchange(origin_, nullptr);
    const auto kept = PyRef::steal(as_object(origin));
    if (trace_function_ != nullptr) {
      try {
        trace(args ? "switch" : "throw", origin, self);
      } catch (const PyError&) {
        args = PyRef();
        kwargs = PyRef();
      }
    }
  }
  if (!args) return;
  // A dead greenlet's result may have come this way: one object alone, as a call has it.
  if (!PyTuple_Check(args.get())) args = PyRef::steal(PyTuple_Pack(1, args.get()));
  if (args) self->entry = PyObject_Call(entry.get(), args.get(), kwargs.get());
}

// Gives `result`, or the pending exception, to the parent. Nothing on this stack may need destruction,
// because it never continues.
suspend::Coroutine& GreenletThread::finish(Greenlet* self, PyRef result) noexcept {
  // Killed as it stood in a switch to its parent: what that was given is passed on.
  if (!result && PyErr_ExceptionMatches(greenlet_exit()) && self->args != nullptr) {
    PyErr_Clear();
    try {
      result = switch_result(take(&self->args), take(&self->kwargs));
    } catch (const PyError&) {
    }
  }
  drop_arguments(self);
  PyObject* given = nullptr;
  if (result) {
    given = PyTuple_Pack(1, result.get());
  } else if (PyErr_ExceptionMatches(greenlet_exit())) {
    given = take_exception().release();
  }
  result = PyRef();
  assert(self->context == nullptr);
  self->context = exchange_context(PyThreadState_Get(), nullptr);
  leave_out(self);
  self->phase = Greenlet::Phase::kDead;
  for (Greenlet* parent = self->parent; parent != nullptr; parent = parent->parent) {
    drop_arguments(parent);
    parent->args = std::exchange(given, nullptr);
    try {
      check_may_go(parent);
      Greenlet* const next = resolve(parent);
      finished_ = std::exchange(self->stack, nullptr);
      enter(next);
      return *next->coroutine;
    } catch (const PyError&) {
      drop_arguments(parent);  // The error goes to the next in the chain.
    } catch (const std::bad_alloc&) {
      drop_arguments(parent);
      PyErr_NoMemory();
    }
  }
  PyErr_WriteUnraisable(as_object(self));
  Py_FatalError("greenlet: ran out of parent greenlets while propagating an exception");
}

// --- Between a request and the loop --------------------------------------------------------------

// In a request: waits on the loop until other code switches to one of the request's greenlets.
PyRef GreenletThread::go_to_loop(Greenlet* target) {
  if (!fiber_->may_suspend()) {
    raise(PyExc_RuntimeError,
          "this request may not be suspended here, so it cannot switch to the loop's greenlet");
  }
  PyRef args = take(&target->args);
  PyRef kwargs = take(&target->kwargs);
  if (PyErr_Occurred()) {
    if (is_asked_) answer_error_.fetch();
    else PyErr_WriteUnraisable(as_object(running_));
  } else if (is_asked_) {
    answer_ = switch_result(std::move(args), std::move(kwargs));
  }
  suspend::Baton baton(fiber_->fiber(), "greenlet", suspend::Abort::kNever);
  baton_ = &baton;
  baton.wait();
  assert(wake_target_);
  const PyRef wanted = std::move(wake_target_);
  wake_error_.restore();
  return go_inside(reinterpret_cast<Greenlet*>(wanted.get()));
}

// On the loop or in another request: has `request`, which waits, go on in `target`.
PyRef GreenletThread::wake(GreenletThread& request, Greenlet* target) {
  if (request.baton_ == nullptr) {
    PyErr_Clear();
    raise(greenlet_error(), "cannot switch to a request that does not wait in a switch to its parent");
  }
  suspend::Baton& baton = *std::exchange(request.baton_, nullptr);
  request.wake_target_ = PyRef::borrow(as_object(target));
  request.wake_error_.fetch();
  if (fiber_ != nullptr) {
    baton.post_next_turn();
    return py_check(PyTuple_New(0));
  }
  request.keep();
  request.is_asked_ = true;
  baton.post();
  request.is_asked_ = false;
  PyRef answer = std::move(request.answer_);
  request.answer_error_.restore();
  request.let_go();
  if (PyErr_Occurred()) throw PyError{};
  return answer ? std::move(answer) : py_check(PyTuple_New(0));
}

}  // namespace python
