#include "plugin/python/virtual_thread.h"

#include <cassert>

#include "plugin/blocking/identity.h"
#include "plugin/python/frames.h"
#include "plugin/python/gil.h"
#include "plugin/python/preemption.h"
#include "plugin/python/py_ref.h"
#include "plugin/python/state_fields.h"

namespace python {
namespace {

// An Event says of each Thread that it has begun, and that of a thread that Python did not start is never
// cleared or waited for: one for all of them saves the 1.4 KiB that each would keep.
void share_event_of_begin(PyObject* thread) noexcept {
  static PyObject* const name = PyUnicode_InternFromString("_started");
  static PyObject* event = nullptr;
  if (event == nullptr) event = PyObject_GetAttr(thread, name);
  else PyObject_SetAttr(thread, name, event);
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
  signal_mask_.bring_back();
  if (!gave_way_) take_gil(state_.get());
}

// CPython starts a process with every signal blocked and may give the GIL up meanwhile (3.12): a fiber gives
// way in the middle of that.
void VirtualThread::leaving() noexcept {
  signal_mask_.put_aside(gave_way_);
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
  // Asked here, with the GIL: where it gave way it had none.
  if (!may_be_left(state_.get())) return true;
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

void VirtualThread::set_name(const std::string& name) noexcept {
  assert(VirtualThread::current() == this && state_.attached());
  const auto threading = PyRef::steal(PyImport_ImportModule("threading"));
  const auto thread =
      PyRef::steal(threading ? PyObject_CallMethod(threading.get(), "current_thread", nullptr) : nullptr);
  const auto text = PyRef::steal(PyUnicode_FromString(name.c_str()));
  if (thread && text) {
    PyObject_SetAttrString(thread.get(), "name", text.get());
    share_event_of_begin(thread.get());
  }
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

}  // namespace python
