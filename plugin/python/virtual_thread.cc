#include "plugin/python/virtual_thread.h"

#include <frameobject.h>

#include <cassert>

#include "plugin/blocking/identity.h"
#include "plugin/python/preemption.h"
#include "plugin/python/py_ref.h"

namespace python {
namespace {

// While one lives, the thread that runs has `own` attached, also where it has entered another
// interpreter. The GIL is held throughout.
class InOwnInterpreter {
 public:
  explicit InOwnInterpreter(PyThreadState* own) noexcept : own_(own), entered_(current_state()) {
    if (entered_ != own_) PyThreadState_Swap(own_);
  }
  ~InOwnInterpreter() {
    if (entered_ != own_) PyThreadState_Swap(entered_);
  }
  InOwnInterpreter(const InOwnInterpreter&) = delete;
  InOwnInterpreter& operator=(const InOwnInterpreter&) = delete;

 private:
  PyThreadState* const own_;
  PyThreadState* const entered_;
};

// True when __del__ is among the frames of `state`. With the GIL held. All are looked at, but
// only of a fiber that gives way: a thousand take 40 us of its quantum.
bool runs_finaliser(PyThreadState* state) noexcept {
  static PyObject* const del = PyUnicode_InternFromString("__del__");
#if PY_VERSION_HEX >= 0x03090000
  auto frame = PyRef::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(state)));
  while (frame) {
    auto* const bare = reinterpret_cast<PyFrameObject*>(frame.get());
    const auto code = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(bare)));
    if (reinterpret_cast<PyCodeObject*>(code.get())->co_name == del) return true;
    frame = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(bare)));
  }
#else
  for (const PyFrameObject* frame = state->frame; frame != nullptr; frame = frame->f_back) {
    if (frame->f_code->co_name == del) return true;
  }
#endif
  return false;
}

}  // namespace

VirtualThread::VirtualThread(const Hub& hub, loop::IoLoop& loop, std::size_t stack_size)
    : hub_(hub), fiber_(stack_size, *this), state_(hub, fiber_), loop_(loop) {}

void VirtualThread::entering() noexcept {
  assert(current_ == nullptr);
  current_ = this;
  note_switch();
  if (gave_way_) PyEval_SaveThread();  // It goes on in the middle of taking the GIL.
  else leave_gil();
}

void VirtualThread::entered() noexcept {
  if (!gave_way_) take_gil(state_.get());
}

void VirtualThread::leaving() noexcept {
  if (!gave_way_) leave_gil();
}

bool VirtualThread::left() noexcept {
  note_switch();
  blocking::show_loop_thread(false);
  current_ = nullptr;
  if (!gave_way_) {
    take_gil(hub_.state());
    return false;
  }
  PyEval_RestoreThread(hub_.state());
  // Asked here, with the GIL: where it gave way it had none. A finaliser runs where its object
  // died, in the middle of anything.
  if (runs_finaliser(state_.get())) return true;
  loop_.add_idle_callback(
      {[](void* fiber) noexcept { static_cast<suspend::Fiber*>(fiber)->resume(); }, &fiber_});
  return false;
}

void VirtualThread::give_way() noexcept {
  assert(current_ == this);
  gave_way_ = true;
  fiber_.suspend();
  gave_way_ = false;
}

suspend::Fiber* GilGate::may_suspend() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  if (thread == nullptr || thread->thread_state().attached() || !thread->may_suspend()) return nullptr;
  return &thread->fiber();
}

suspend::Fiber* GilGate::can_suspend() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  return thread == nullptr || !thread->may_suspend() ? nullptr : &thread->fiber();
}

blocking::Refusal GilGate::why_not() noexcept {
  VirtualThread* const thread = VirtualThread::current();
  if (thread == nullptr) return blocking::Refusal::kNone;
  if (thread->thread_state().attached()) return blocking::Refusal::kGilHeld;
  if (thread->task().suspension_is_forbidden()) return blocking::Refusal::kGuarded;
  return blocking::Refusal::kNone;
}

void VirtualThread::set_name(const std::string& name) noexcept {
  assert(VirtualThread::current() == this && state_.attached());
  const auto threading = PyRef::steal(PyImport_ImportModule("threading"));
  const auto thread =
      PyRef::steal(threading ? PyObject_CallMethod(threading.get(), "current_thread", nullptr) : nullptr);
  const auto text = PyRef::steal(PyUnicode_FromString(name.c_str()));
  if (thread && text) PyObject_SetAttrString(thread.get(), "name", text.get());
  PyErr_Clear();  // A thread without a name is no reason to fail its request.
}

// The switch wants the fiber's own state attached: left detached, PyGILState_Ensure in C code
// that runs after it would find the hub's and run Python on it.
void VirtualThread::park(suspend::Fiber& fiber) noexcept {
  assert(current_ == this && &fiber == &fiber_);
  const bool gil_given_up = !state_.attached();
  if (gil_given_up) {
    // What ends the wait is armed already: to give way here would have two resume it.
    task_.forbid_suspension();
    PyEval_RestoreThread(state_.get());
    task_.allow_suspension();
  }
  {
    const InOwnInterpreter here(state_.get());
    fiber.suspend();
  }
  if (gil_given_up) PyEval_SaveThread();
}

void GilGate::lock_wait_interrupted(suspend::Fiber&) noexcept { interrupt_lock_wait(); }

// The loop's own Python code may need a lock that a suspended request holds: the request must
// run on. Asleep in the poll the state is detached too, but then nothing of Python's runs here.
bool GilGate::may_turn() noexcept { return can_turn() && !holds_gil(hub_.state()); }

bool GilGate::can_turn() noexcept {
  return blocking::on_loop_thread() && suspend::Fiber::current() == nullptr;
}

void GilGate::turn() noexcept {
  const bool gil_given_up = !holds_gil(hub_.state());
  if (gil_given_up) PyEval_RestoreThread(hub_.state());
  {
    const InOwnInterpreter here(hub_.state());
    loop_.turn();
  }
  if (gil_given_up) PyEval_SaveThread();
}

}  // namespace python
